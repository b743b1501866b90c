"""Arrays of integers to plan with: NumPy's, or torch's where there is no NumPy; the numbers are the same.

Calls of NumPy take a third of the time of torch's, and its sort a tenth, which is what planning consists of. What is
not here is called in the same way for both.
"""

from typing import Any

import torch
from torch import Tensor

from redwood.buffers.optional_numpy import np

# A NumPy array, or a tensor on the host.
Array = Any


def library() -> Any:
    """The module that has functions of arrays."""
    return torch if np is None else np


def to_array(tensor: Tensor) -> Array:
    """A tensor on the host as an array, sharing memory."""
    return tensor if np is None else tensor.numpy()


def to_tensor(array: Array) -> Tensor:
    """An array as a tensor, sharing memory."""
    return array if np is None else torch.from_numpy(array)  # type: ignore[no-any-return]


def whole(values: Array, *, short: bool = False) -> Array:
    """Values (...) >= 0 rounded down, as int64 or, if `short`, int32."""
    if np is None:
        return values.to(torch.int32 if short else torch.int64)
    return values.astype(np.int32 if short else np.int64)


def indices(mask: Array) -> Array:
    """Where a mask (n,) is true (m,), int64."""
    return mask.nonzero()[:, 0] if np is None else np.flatnonzero(mask)


def repeat(values: Array, times: Array) -> Array:
    """Each value (n,) as often as its number of times (n,) says."""
    return values.repeat_interleave(times) if np is None else values.repeat(times)


def intervals(values: Array, ends: Array) -> Array:
    """Which of consecutive intervals, starting from 0, with these ends (C,), int64, values (...), int64, are in."""
    return library().searchsorted(ends, values, side="right")


def sort_rows(rows: Array) -> None:
    """Sort each row (R, n), contiguous, in place."""
    if np is None:
        rows.copy_(rows.sort(dim=1).values)
    else:
        rows.sort(axis=1)
