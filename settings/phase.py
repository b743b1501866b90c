"""One phase of a run: what `Method.fit` gets."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from redwood.settings.streams.loader import BatchLoader
from redwood.settings.workers import sum_over_workers

CURVE_POINTS = 50


class OnlineAccuracy:
    """Prequential accuracy (Gama et al., 2013): each sample is predicted before it is learned from.

    Counts stay on the device of the predictions until they are asked for, so that scoring costs no synchronisation.
    """

    def __init__(self, steps: int) -> None:
        self._hits = torch.zeros(steps, dtype=torch.int32)
        self._sizes = torch.zeros(steps, dtype=torch.int32)
        self._step = 0

    def update(self, predictions: Tensor, y: Tensor) -> None:
        """Score the predicted classes (B,) of one batch against its labels (B,)."""
        if self._hits.device != predictions.device:
            self._hits = self._hits.to(predictions.device)
        self._hits[self._step] = (predictions == y).sum()
        self._sizes[self._step] = len(y)
        self._step += 1

    def curve(self) -> list[tuple[int, float]]:
        """At most `CURVE_POINTS` pairs: samples of this phase seen, accuracy since the pair before.

        The counts of all workers are added up, so every worker has to ask.
        """
        counts = sum_over_workers(torch.stack([self._hits.cpu(), self._sizes]).long())
        counts = counts[:, counts[1] > 0]
        if counts.shape[1] == 0:
            return []
        points, seen = [], 0
        for hits, sizes in zip(*(c.tensor_split(min(CURVE_POINTS, counts.shape[1])) for c in counts), strict=True):
            seen += int(sizes.sum())
            points.append((seen, int(hits.sum()) / int(sizes.sum())))
        return points

    def state_dict(self) -> dict[str, Any]:
        """The counts so far."""
        return {"hits": self._hits.cpu(), "sizes": self._sizes, "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from earlier counts."""
        self._hits, self._sizes, self._step = state["hits"].clone(), state["sizes"].clone(), state["step"]


class Phase:
    """The data of one call of `Method.fit`.

    Attributes:
        index: Number of the phase, from 0.
        task_id: The task that the phase trains, or None where it is hidden or the phase holds several.
        task_classes: The labels of each task of the phase, ascending, or None where ids are hidden in training.
        train: Loader of the training batches; iterate it `train.epochs` times.
        validation: Loader of the samples held out from this phase, or None if the setting holds none out.
        online: Accuracy on the predictions made before learning; see `score`.
    """

    def __init__(
        self,
        index: int,
        task_id: int | None,
        task_classes: Mapping[int, tuple[int, ...]] | None,
        train: BatchLoader,
        validation: BatchLoader | None,
    ) -> None:
        self.index = index
        self.task_id = task_id
        self.task_classes = task_classes
        self.train = train
        self.validation = validation
        self.online = OnlineAccuracy(train.steps_per_pass)

    @property
    def steps(self) -> int:
        """Training steps of the phase: batches per epoch times epochs."""
        return len(self.train) * self.train.epochs

    def score(self, predictions: Tensor, y: Tensor) -> None:
        """Count the predicted classes (B,) of the last batch, made before learning from it; repeats do not count."""
        if self.train.first_pass:
            self.online.update(predictions, y)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint inside the phase needs beside the method: position and counts."""
        return {"train": self.train.state_dict(), "online": self.online.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on inside the phase."""
        self.train.load_state_dict(state["train"])
        self.online.load_state_dict(state["online"])
