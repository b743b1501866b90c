"""Samples of a data set by their addresses."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Entries:
    """A sequence of samples, as addresses.

    Attributes:
        rows: Row of the data set (n,).
        tasks: Task of each sample (n,), which decides its transform and its label.
    """

    rows: Tensor
    tasks: Tensor

    def __len__(self) -> int:
        """Number of samples n."""
        return len(self.rows)

    def __getitem__(self, index: Tensor) -> "Entries":
        """The entries at `index` (m,), places or a mask (n,), in that order."""
        if index.dtype == torch.int64:
            return Entries(self.rows.index_select(0, index), self.tasks.index_select(0, index))
        return Entries(self.rows[index], self.tasks[index])

    @staticmethod
    def concatenate(parts: "Sequence[Entries]") -> "Entries":
        """Join sequences end to end."""
        return Entries(torch.cat([p.rows for p in parts]), torch.cat([p.tasks for p in parts]))
