"""Convert the learned state of an object to that of a larger object, such as one with more outputs."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from redwood.core.state import copy_state


class Sizes(NamedTuple):
    """The shape of a parameter in a small network and in a larger one."""

    before: tuple[int, ...]
    after: tuple[int, ...]


# The sizes of all parameters and buffers, by name. Those that do not grow are included.
SizesByName = Mapping[str, Sizes]


@runtime_checkable
class Growing(Protocol):
    """An object that knows how its own state grows."""

    def grow_state(self, saved: object, smaller: object) -> Any:
        """The state `saved` of an object like `smaller`, in the form of this one."""


def sizes_of(larger: nn.Module, smaller: nn.Module) -> dict[str, Sizes]:
    """Return the sizes of the parameters and buffers that two networks have in common, by name."""
    values = larger.state_dict()
    return {
        name: Sizes(tuple(value.shape), tuple(values[name].shape))
        for name, value in smaller.state_dict().items()
        if name in values
    }


def grows(sizes: SizesByName) -> bool:
    """True if any parameter is larger than it was."""
    return any(size.before != size.after for size in sizes.values())


def grow(larger: Any, smaller: Any, saved: Any, sizes: SizesByName) -> Any:
    """The state of a small object, in the form of a larger one.

    Args:
        larger: An object as it is before it has learned, or its state.
        smaller: The small object, of the same kind, before it has learned.
        saved: The state that an object like `smaller` has reached.
        sizes: The sizes of parameters. A tensor may belong to a growing parameter and be in neither fresh state, such
            as the importance of a weight. Its new entries are zero.

    Returns:
        `saved` in the larger sizes. The first entries of each tensor are those learned, the others those of `larger`.
    """
    if isinstance(larger, Growing):
        return larger.grow_state(saved, smaller)
    if isinstance(larger, Optimizer):
        return grow_optimizer(larger.param_groups, smaller.param_groups, saved)
    if isinstance(larger, list) and any(isinstance(part, Optimizer | Growing) for part in larger):
        return [grow(*parts, sizes) for parts in zip(larger, smaller, saved, strict=True)]
    return _grown(copy_state(larger), copy_state(smaller), saved, sizes, "")


def grow_optimizer(larger: Sequence[Mapping[str, Any]], smaller: Sequence[Mapping[str, Any]], saved: Any) -> Any:
    """The state of an optimizer, such as momenta, for larger parameters; the new entries are zero.

    Args:
        larger: Groups of parameters of the larger network, in the order of the optimizer's.
        smaller: The same of the small network.
        saved: The state of an optimizer of the small network.
    """
    pairs = [
        Sizes(tuple(before.shape), tuple(after.shape))
        for group, small in zip(larger, smaller, strict=True)
        for after, before in zip(group["params"], small["params"], strict=True)
    ]
    state = {
        number: {name: _sized(value, pairs[number]) for name, value in own.items()}
        for number, own in saved["state"].items()
    }
    return {**saved, "state": state}


def _sized(value: object, size: Sizes) -> object:
    """Return a value of the optimizer's state, padded if it has the parameter's shape."""
    return padded(value, size.after) if isinstance(value, Tensor) and tuple(value.shape) == size.before else value


def _grown(larger: object, smaller: object, saved: object, sizes: SizesByName, name: str) -> object:
    if isinstance(saved, Tensor):
        if isinstance(larger, Tensor) and isinstance(smaller, Tensor) and larger.dim() == saved.dim():
            return _extended(larger, smaller, saved)
        size = _size_of(saved, sizes, name)
        return saved if size is None else _sized(saved, size)
    if isinstance(saved, Mapping):
        return {
            key: _grown(_entry(larger, key), _entry(smaller, key), value, sizes, str(key))
            for key, value in saved.items()
        }
    if isinstance(saved, list | tuple):
        return type(saved)(_grown(None, None, value, sizes, name) for value in saved)
    return saved


def _entry(state: object, key: object) -> object:
    return state.get(key) if isinstance(state, Mapping) else None


def _size_of(saved: Tensor, sizes: SizesByName, name: str) -> Sizes | None:
    """Return the sizes of the parameter that a tensor belongs to, by its name; None if no such parameter grows.

    A network that has got parts in training has names that a new one lacks. The end of such a name tells the parameter:
    its last two parts, or the last one if only growing parameters have this shape. A mask needs only the shape.
    """
    if name in sizes:
        return sizes[name]
    shape = tuple(saved.shape)
    parts = 2 if any(size.before == size.after == shape for size in sizes.values()) else 1
    alike = {
        size
        for known, size in sizes.items()
        if size.before != size.after
        and size.before == shape
        and (saved.dtype == torch.bool or known.split(".")[-parts:] == name.split(".")[-parts:])
    }
    return alike.pop() if len(alike) == 1 else None


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


def padded(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`values` in the first entries of zeros of a larger shape."""
    result = torch.zeros(shape, dtype=values.dtype)
    result[tuple(slice(size) for size in values.shape)] = values
    return result
