"""Replay as a part of a method: draw stored samples for a step, and add the incoming ones."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from redwood.buffers import RehearsalBuffer
from redwood.core.errors import BufferInputError
from redwood.core.state import State
from redwood.methods.lightning import LightningMethod
from redwood.methods.networks.last_layer import CHUNK, features_of
from redwood.methods.replay.interference import interference
from redwood.methods.training.step import Replayed, Rows, Step
from redwood.settings.batch import Batch

if TYPE_CHECKING:
    from pytorch_lightning.strategies import Strategy

    from redwood.methods.replay.rehearsal import Rehearsal

_OWN_LEAVES = {"x", "y", "task_id"}  # what is stored of each sample
REFRESH_EVERY = 50  # draws between two updates of the stored features


class Replay(ABC):
    """The part of a method that replays samples: `draw` for each step, then `rate` and `add`.

    A subclass saves and loads its own state (`redwood.core.state.Component`).
    """

    @property
    @abstractmethod
    def buffer(self) -> RehearsalBuffer:
        """The samples that this worker stores."""

    @abstractmethod
    def draw(self, step: Step, number: int = 0) -> Replayed | None:
        """Samples for a step, or None if there are none; `number` counts the draws of the same step from 0."""

    @abstractmethod
    def add(self, step: Step, more: Rows, chosen: Tensor | None = None) -> None:
        """Offer the incoming samples to the buffer.

        Args:
            step: The step that has just been trained on.
            more: Further leaves (b, ...) to store with the samples.
            chosen: Which of the incoming samples are offered (b,), bool; default: all.
        """

    @abstractmethod
    def rate(self, step: Step) -> None:
        """Tell the policy, if it asks for losses, the losses of the replayed samples in this step."""

    @abstractmethod
    def never_drew(self) -> bool:
        """True if the run is known to have replayed nothing."""

    @abstractmethod
    def strategy(self, method: "Rehearsal") -> "Strategy | None":
        """A Lightning strategy for the next phase, if replay needs one of its own."""

    @contextmanager
    def saved_by_strategy(self) -> Iterator[None]:
        """Within, `state_dict` leaves out what the strategy saves beside Lightning's checkpoint."""
        yield

    def state_for_other_workers(self, states: list[State]) -> State:
        """This worker's state, made of those of another number of workers; only a shared buffer can be dealt out."""
        raise NotImplementedError

    @abstractmethod
    def costs(self) -> State:
        """Return the costs of rehearsal that the run reports; empty if there are none."""

    @property
    def nbytes(self) -> int:
        """Bytes of the buffer."""
        return self.buffer.nbytes


class LocalReplay(Replay):
    """Replay from a buffer of this worker alone, filled from its shard of the stream."""

    def __init__(self, method: LightningMethod, buffer: RehearsalBuffer, ratio: float, *, on_gpu: bool) -> None:
        """Replay for a method.

        Args:
            method: Its network gives the interference and the features that samplers and policies need.
            buffer: An empty buffer.
            ratio: Samples drawn for each incoming one, at least one and at most the capacity; 0 draws none.
            on_gpu: Whether the buffer lies on the network's GPU.
        """
        self._buffer, self._method, self._ratio, self._on_gpu = buffer, method, ratio, on_gpu

    @property
    @override
    def buffer(self) -> RehearsalBuffer:
        return self._buffer

    @override
    def draw(self, step: Step, number: int = 0) -> Replayed | None:
        buffer, device = self.buffer, self._method.device
        if not len(buffer) or not self._ratio:
            return None
        if "features" in buffer.sampler.needs and buffer.n_draws % REFRESH_EVERY == 0:
            buffer.refresh(stored_features(buffer, self._method))
        n = min(max(1, round(self._ratio * step.n_incoming)), buffer.capacity)
        slots = buffer.draw(n, rate=lambda rows: self._interference(step.incoming, rows), tasks=step.on_host.task_id)
        return Replayed(buffer.read(slots, device=device), slots) if len(slots) else None

    def _interference(self, incoming: Batch, rows: Rows) -> Tensor:
        method = self._method
        leaves = {name: rows[name].to(method.device) for name in Batch._fields if name in rows}
        others = Batch(leaves["x"], leaves["y"], leaves.get("task_id"))
        return interference(method.network, incoming, others, method.step_lr, method.masked)

    @override
    def add(self, step: Step, more: Rows, chosen: Tensor | None = None) -> None:
        side_info = {}
        if "losses" in self.buffer.needs and step.losses is not None:
            side_info["losses"] = step.losses[: step.n_incoming].cpu()
        if "features" in self.buffer.needs:
            side_info["features"] = features_of(self._method.network, step.incoming.x)
        add_incoming(self.buffer, step, more, chosen, on_gpu=self._on_gpu, **side_info)

    @override
    def rate(self, step: Step) -> None:
        if "losses" not in self.buffer.needs or step.losses is None or step.replayed is None:
            return
        n = step.replayed.n_first  # a slot of both draws has one loss
        slots, losses = step.replayed.slots[:n], step.losses[step.replayed_rows][:n]
        if len(losses):
            self.buffer.on_replayed(slots, losses.cpu())

    @override
    def never_drew(self) -> bool:
        return not self.buffer.n_draws and not bool(self.buffer.draw_counts().any())

    @override
    def strategy(self, method: "Rehearsal") -> "Strategy | None":
        return None

    @override
    def costs(self) -> State:
        return {}  # the buffer works within the training step, as part of its time

    def state_dict(self) -> State:
        """The buffer."""
        return self.buffer.state_dict()

    def load_state_dict(self, state: State) -> None:
        """Continue with an earlier buffer, where the network is."""
        self.buffer.load_state_dict(state)
        self.buffer.to(self._method.device)


def add_incoming(
    buffer: RehearsalBuffer,
    step: Step,
    more: Rows | None = None,
    chosen: Tensor | None = None,
    *,
    on_gpu: bool,
    **side_info: Tensor,
) -> None:
    """Offer the incoming samples of a step to a buffer, with their labels and, where ids are given, their tasks.

    Args:
        buffer: The buffer.
        step: The step.
        more: Further leaves (b, ...) to store with the samples.
        chosen: Which samples are offered (b,), bool; default: all.
        on_gpu: Whether to take the samples from the GPU; else they are taken as the stream served them.
        **side_info: What the policy asks for of each sample (b,), such as `losses`.

    Raises:
        BufferInputError: If the samples have been changed in place since the stream served them, or a further leaf has
            a name of theirs.
    """
    source = step.incoming if on_gpu else step.on_host
    if source.x is step.incoming.x:  # on a GPU the step has copies
        step.check_unchanged()
    samples, side_info = source.leaves() | checked_further(more or {}), {"labels": step.on_host.y, **side_info}
    if step.on_host.task_id is not None:
        side_info["tasks"] = step.on_host.task_id
    if chosen is not None:
        samples = {name: leaf[chosen.to(leaf.device)] for name, leaf in samples.items()}
        side_info = {name: values[chosen.to(values.device)] for name, values in side_info.items()}
    if len(samples["y"]):
        buffer.add(samples, **side_info)


def checked_further(more: Rows) -> Rows:
    """Return further leaves that are stored with the samples.

    Raises:
        BufferInputError: If one of them has a name of the samples' own, which it would replace.
    """
    for name in sorted(more.keys() & _OWN_LEAVES):
        raise BufferInputError(f"further_leaves may not name a tensor {name!r}: the stored sample has one; rename it.")
    return more


def stored_features(buffer: RehearsalBuffer, method: LightningMethod) -> Tensor:
    """The features (len, d) of all stored samples, read in chunks: the samples need not fit onto the GPU."""
    chunks = torch.arange(len(buffer)).split(CHUNK)
    return torch.cat([features_of(method.network, buffer.read(rows, device=method.device)["x"]) for rows in chunks])
