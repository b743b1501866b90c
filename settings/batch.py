"""What a stream yields."""

from typing import Any, NamedTuple, Self

import torch
from torch import Tensor


class Showing(NamedTuple):
    """Which batch this is of those that a loader hands out, so that the setting finds its own labels of it.

    Attributes:
        loader: Number of the loader in this process.
        step: Place of the batch within a pass.
        first_pass: Whether its samples are shown for the first time.
    """

    loader: int
    step: int
    first_pass: bool


class _Leaves(NamedTuple):
    x: Tensor
    y: Tensor
    task_id: Tensor | None


class Batch(_Leaves):
    """A mini-batch: `x, y, task_id = batch`.

    Attributes:
        x: Samples (B, ...) in their storage dtype; networks scale them on their own device.
        y: Labels (B,), int64; or targets (B,) or (B, d) of regression, float32.
        task_id: Task of each sample (B,), int64, or None where the setting hides it.
        showing: What `Phase.score` knows the batch by; None if no setting handed it out. `to` and `_replace` keep it.
    """

    showing: Showing | None = None

    @property
    def first_pass(self) -> bool:
        """Whether a setting shows these samples for the first time: where a loop reads ahead, only the batch knows."""
        return self.showing is not None and self.showing.first_pass

    def leaves(self) -> dict[str, Tensor]:
        """The tensors that there are, by name: what a buffer stores of each sample."""
        return {name: leaf for name, leaf in self._asdict().items() if leaf is not None}

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The same batch on another device."""
        ids = None if self.task_id is None else self.task_id.to(device, non_blocking=non_blocking)
        x, y = self.x.to(device, non_blocking=non_blocking), self.y.to(device, non_blocking=non_blocking)
        return Batch(x, y, ids).known_as(self.showing)

    def known_as(self, showing: Showing | None) -> Self:
        """This batch, as the one that a setting handed out as `showing`."""
        self.showing = showing
        return self

    def _replace(self, **leaves: Any) -> Self:
        return super()._replace(**leaves).known_as(self.showing)
