"""What a stream yields."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """A mini-batch.

    Attributes:
        x: Samples (B, ...) in their storage dtype; networks scale them on their own device.
        y: Labels (B,), int64; or targets (B,) or (B, d) of regression, float32.
        task_id: Task of each sample (B,), int64, or None where the setting hides it.
    """

    x: Tensor
    y: Tensor
    task_id: Tensor | None

    def leaves(self) -> dict[str, Tensor]:
        """The tensors that there are, by name: what a buffer stores of each sample."""
        return {name: leaf for name, leaf in self._asdict().items() if leaf is not None}
