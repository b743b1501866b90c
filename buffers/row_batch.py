"""Memory for some rows outside of a storage."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from redwood.buffers.layout import RowLayout
from redwood.buffers.optional_numpy import np
from redwood.buffers.tree import rebuild


class RowBatch:
    """Rows to read into, or to put together before they are written, with views of their leaves made once.

    Attributes:
        rows: The rows (n, words).
        leaves: Their leaves (n, ...), in the order of the layout.
        samples: The same as a tree, as samples are added.
        whole: See `as_whole_rows`.
    """

    def __init__(self, layout: RowLayout, rows: Tensor) -> None:
        self.rows = rows
        self.leaves = layout.views(rows)
        self.samples: Any = rebuild(layout.structure, iter(self.leaves))
        self.whole = as_whole_rows(rows)

    def __len__(self) -> int:
        """Number of rows."""
        return self.rows.shape[0]


def as_whole_rows(leaf: Tensor) -> Any:
    """View samples (n, ...) on the host as a NumPy array (n,) of rows; None on a GPU, of nothing, or without NumPy.

    NumPy moves a row with one copy, where torch scatters word by word and takes twice as long.
    """
    n = len(leaf)
    if np is None or not leaf.is_cpu or not leaf.numel():
        return None
    leaf = leaf.detach()
    if leaf.is_conj():
        leaf = leaf.resolve_conj()
    # Bytes first: NumPy knows no bfloat16. Rows of a storage are contiguous one by one, and stay views.
    rows = leaf if leaf.dim() == 2 and leaf.stride(1) == 1 else leaf.contiguous().view(n, -1)
    return rows.view(torch.uint8).numpy().view(_row_type(rows.shape[1] * rows.element_size()))[:, 0]


@cache
def _row_type(n_bytes: int) -> Any:
    return np.dtype((np.void, n_bytes))
