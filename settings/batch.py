"""The mini-batch of a stream."""

from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from typing_extensions import override


class BatchId(NamedTuple):
    """The identity of a batch of a stream, by which the setting finds its own labels of the batch.

    Attributes:
        loader: Number of the loader in this process.
        step: Number of the batch within a pass.
        first_pass: Whether its samples are presented for the first time.
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
        batch_id: Identity of the batch for `Phase.score`; None if no setting made it. `to` and `_replace` keep it.
    """

    batch_id: BatchId | None = None

    @property
    def first_pass(self) -> bool:
        """Whether the stream presents these samples for the first time."""
        return self.batch_id is not None and self.batch_id.first_pass

    def leaves(self) -> dict[str, Tensor]:
        """The tensors by name, without `task_id` if it is None: a buffer stores these of each sample."""
        return {name: leaf for name, leaf in self._asdict().items() if leaf is not None}

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The same batch on another device."""
        ids = None if self.task_id is None else self.task_id.to(device, non_blocking=non_blocking)
        x, y = self.x.to(device, non_blocking=non_blocking), self.y.to(device, non_blocking=non_blocking)
        return Batch(x, y, ids).with_id(self.batch_id)

    def with_id(self, batch_id: BatchId | None) -> Self:
        """Set the identity, and return this batch."""
        self.batch_id = batch_id
        return self

    @override
    def _replace(self, **leaves: Any) -> Self:
        return super()._replace(**leaves).with_id(self.batch_id)
