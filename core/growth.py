"""The state of an object that has grown: what an object with fewer outputs has learned, in the form of a larger one."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from redwood.core.state import copy_state

Shape = tuple[int, ...]
# Shapes of parameters that grow, before and after.
GrowingShapes = Mapping[Shape, Shape]


@runtime_checkable
class Growing(Protocol):
    """An object that knows how its own state grows."""

    def grow_state(self, saved: Any, smaller: Any) -> Any:
        """The state `saved` of an object like `smaller`, in the form of this one."""


def growing_shapes(larger: Mapping[str, Tensor], smaller: Mapping[str, Tensor]) -> dict[Shape, Shape]:
    """The shapes, before and after, of the parameters that differ between two networks, given by name."""
    pairs = [(tuple(value.shape), tuple(larger[name].shape)) for name, value in smaller.items() if name in larger]
    return {before: after for before, after in pairs if before != after}


def grow(larger: Any, smaller: Any, saved: Any, shapes: GrowingShapes) -> Any:
    """The state of a small object, in the form of a larger one.

    Args:
        larger: An object as it is before it has learned, or its state.
        smaller: The small object, of the same kind, before it has learned.
        saved: The state that an object like `smaller` has reached.
        shapes: Shapes of parameters that grow. A tensor of such a shape that is in neither fresh state, such as the
            importance of a weight, gets zeros for the new entries.

    Returns:
        `saved`, in which each tensor has what was learned in its first entries, and in the others what `larger` holds.
    """
    if isinstance(larger, Growing):
        return larger.grow_state(saved, smaller)
    return _grown(copy_state(larger), copy_state(smaller), saved, shapes)


def _grown(larger: Any, smaller: Any, saved: Any, shapes: GrowingShapes) -> Any:
    if isinstance(saved, Tensor):
        if isinstance(larger, Tensor) and isinstance(smaller, Tensor) and larger.dim() == saved.dim():
            return _extended(larger, smaller, saved)
        shape = tuple(saved.shape)
        return padded(saved, shapes[shape]) if shape in shapes else saved
    if isinstance(saved, Mapping):
        return {key: _grown(_entry(larger, key), _entry(smaller, key), value, shapes) for key, value in saved.items()}
    if isinstance(saved, list | tuple):
        return type(saved)(_grown(None, None, value, shapes) for value in saved)
    return saved


def _entry(state: Any, key: Any) -> Any:
    return state.get(key) if isinstance(state, Mapping) else None


def _extended(larger: Tensor, smaller: Tensor, saved: Tensor) -> Tensor:
    """`saved` with the further entries of `larger`, along each axis in which the fresh tensors differ."""
    axes = zip(saved.shape, smaller.shape, larger.shape, strict=True)
    shape = tuple(have + max(after - before, 0) for have, before, after in axes)
    if shape == tuple(saved.shape):
        return saved
    if shape != tuple(larger.shape):
        return padded(saved, shape)
    result = larger.clone()
    result[tuple(slice(size) for size in saved.shape)] = saved
    return result


def padded(values: Tensor, shape: Shape) -> Tensor:
    """`values` in the first entries of zeros of a larger shape."""
    result = torch.zeros(shape, dtype=values.dtype)
    result[tuple(slice(size) for size in values.shape)] = values
    return result
