"""The mini-batch of a stream."""

from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from typing_extensions import override


class Turn(NamedTuple):
    """The place of a batch in a phase that several clients train.

    Attributes:
        round: Number of the round, from 0.
        client: Number of the client that holds the samples. None: this worker has no batch left in the round and waits
            for the others; the batch has no samples.
        n_samples: Number of samples that the client holds in this phase.
        ends: Whether it is the client's last batch of the round.
        ends_round: Whether it is the last batch of the round, on all workers.
    """

    round: int
    client: int | None
    n_samples: int
    ends: bool
    ends_round: bool


class BatchId(NamedTuple):
    """The identity of a batch of a stream, by which the setting finds its own labels of the batch.

    Attributes:
        loader: Number of the loader in this process.
        step: Number of the batch within a pass.
        first_pass: Whether its samples are presented for the first time.
        turn: Client and round, where clients hold the samples.
    """

    loader: int
    step: int
    first_pass: bool
    turn: Turn | None = None


class _Leaves(NamedTuple):
    x: Tensor
    y: Tensor
    task_id: Tensor | None


class Batch(_Leaves):
    """A mini-batch: `x, y, task_id = batch`.

    Attributes:
        x: Samples (B, ...) in their storage dtype; networks scale them on their own device.
        y: Labels (B,), int64; or label sets (B, K), bool; or targets (B,) or (B, d) of regression, float32.
        task_id: Task of each sample (B,), int64, or None where the setting hides it.
        batch_id: Identity of the batch for `Phase.score`; None if no setting made it.
        unlabelled: Samples (u, ...) that came with these and stay without labels, where labels are asked for; else
            None. `to` and `_replace` keep it, and the identity.
    """

    batch_id: BatchId | None = None
    unlabelled: Tensor | None = None

    @property
    def first_pass(self) -> bool:
        """True if the stream presents these samples for the first time."""
        return self.batch_id is not None and self.batch_id.first_pass

    @property
    def turn(self) -> Turn | None:
        """The client that holds the samples, and the round; None where there are no clients."""
        return None if self.batch_id is None else self.batch_id.turn

    def leaves(self) -> dict[str, Tensor]:
        """The tensors by name, without `task_id` if it is None: a buffer stores these of each sample."""
        return {name: leaf for name, leaf in self._asdict().items() if leaf is not None}

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The same batch on another device."""
        ids = None if self.task_id is None else self.task_id.to(device, non_blocking=non_blocking)
        x, y = self.x.to(device, non_blocking=non_blocking), self.y.to(device, non_blocking=non_blocking)
        rest = None if self.unlabelled is None else self.unlabelled.to(device, non_blocking=non_blocking)
        return Batch(x, y, ids).with_id(self.batch_id).with_unlabelled(rest)

    def with_id(self, batch_id: BatchId | None) -> Self:
        """Set the identity, and return this batch."""
        self.batch_id = batch_id
        return self

    def with_unlabelled(self, x: Tensor | None) -> Self:
        """Set the samples that stay without labels, and return this batch."""
        self.unlabelled = x
        return self

    @override
    def _replace(self, **leaves: Any) -> Self:
        return super()._replace(**leaves).with_id(self.batch_id).with_unlabelled(self.unlabelled)
