"""A phase that trains on what a buffer holds instead of on the stream."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from redwood.buffers import RehearsalBuffer
from redwood.settings.batch import Batch
from redwood.settings.phase import Phase
from redwood.settings.seeding import generator
from redwood.settings.streams.batches import batch_cuts
from redwood.settings.workers import gather_objects


class MemoryLoader:
    """Iterates over the samples in a buffer, newly shuffled in each epoch; it is resumable.

    Attributes:
        epochs: How often to iterate.
        first_pass: Never: the stream has shown these samples before.
        showing: None: no setting has handed these batches out.
    """

    first_pass = False
    showing = None

    def __init__(self, buffer: RehearsalBuffer, batch_size: int, epochs: int, seed: int) -> None:
        self._buffer, self._batch_size, self._seed = buffer, batch_size, seed
        self.epochs = epochs
        self._shown = self._epoch = self._next = 0

    def open(self) -> None:
        """Agree with the other workers on the samples of an epoch; those that store fewer show some twice."""
        self._shown = max(gather_objects(len(self._buffer)))

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(batch_cuts(self._shown, self._batch_size, workers=1)) - 1

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch, from the next one on."""
        n = len(self._buffer)
        order = torch.randperm(n, generator=generator(self._seed, "memory", self._epoch))
        order = order[torch.arange(self._shown) % n]
        cuts = batch_cuts(self._shown, self._batch_size, workers=1).tolist()
        spans = list(pairwise(cuts))
        for step in range(self._next, len(spans)):
            self._next = step + 1
            if self._next == len(spans):
                self._epoch, self._next = self._epoch + 1, 0
            yield self._batch(order[slice(*spans[step])])

    def _batch(self, slots: Tensor) -> Batch:
        rows = self._buffer.read(slots)
        return Batch(rows["x"], rows["y"], rows.get("task_id"))

    def state_dict(self) -> dict[str, int]:
        """The position."""
        return {"shown": self._shown, "epoch": self._epoch, "next": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a position."""
        self._shown, self._epoch, self._next = state["shown"], state["epoch"], state["next"]


class MemoryPhase(Phase):
    """Stands in for a phase of the stream once that has been read; its accounts are kept with it."""

    def __init__(self, stream: Phase, train: MemoryLoader) -> None:
        self.index, self.task_id, self.task_classes = stream.index, stream.task_id, stream.task_classes
        self.train, self.validation = train, stream.validation  # type: ignore[assignment]
        self.online = stream.online
        self._stream = stream

    def score(self, predictions: Tensor, batch: Batch) -> None:
        """Count nothing: the stream has shown these samples before."""

    def state_dict(self) -> dict[str, Any]:
        """The position in the memory, and the state of the stream's phase."""
        return {"memory": self.train.state_dict(), "stream": self._stream.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on inside the phase."""
        self.train.load_state_dict(state["memory"])
        self._stream.load_state_dict(state["stream"])
