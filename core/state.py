"""The state of an object as tensors and plain values: copied for a checkpoint, loaded from one, counted in bytes."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from redwood.core.errors import InvalidOptionError

# The result of `state_dict`: tensors, plain values, and dictionaries and lists of these, by name.
State: TypeAlias = dict[str, Any]

T = TypeVar("T")


@runtime_checkable
class Component(Protocol):
    """An object that saves and loads its own state: a module, an optimizer, a buffer."""

    def state_dict(self) -> Any:
        """The state."""

    def load_state_dict(self, state: object) -> Any:
        """Load, in place, the state of an object of the same kind, as `state_dict` returned it."""


class Stateful:
    """Saves and loads the attributes that it has declared by `add_state`."""

    _states: dict[str, bool]  # name of each declared attribute: whether it counts as buffer

    def add_state(self, name: str, value: T, *, buffer: bool = False) -> T:
        """Set the attribute `name`, and make it a part of the state. Declare each name once.

        Tensors are saved as copies. They are loaded onto the device of the tensor that they replace, or else onto
        `self.device`, if there is one.

        Args:
            name: The attribute, and its key in `state_dict`.
            value: A tensor; a module, an optimizer or another object with `state_dict` and `load_state_dict`; a plain
                value or None; or a dictionary or list of these. None and empty ones may become anything later.
            buffer: Whether its bytes count as buffer: it stands for earlier samples or tasks.

        Returns:
            The value.

        Raises:
            InvalidOptionError: If the name is declared already, by another class that this one inherits.
        """
        states = self.__dict__.setdefault("_states", {})
        if name in states:
            raise InvalidOptionError(
                f"{type(self).__name__} cannot be made: two of its classes keep a state called {name!r}; "
                "rename one of the two."
            )
        states[name] = buffer
        setattr(self, name, value)
        return value

    def state_dict(self) -> State:
        """The declared attributes, as tensors and plain values."""
        return {name: copy_state(getattr(self, name)) for name in self._states}

    def load_state_dict(self, state: State) -> None:
        """Continue from the result of `state_dict`."""
        device = getattr(self, "device", torch.device("cpu"))
        for name in self._states:
            setattr(self, name, load_state(getattr(self, name), state[name], device))

    @property
    def nbytes(self) -> int:
        """Bytes of the declared attributes that count as buffer."""
        return sum(count_bytes(getattr(self, name)) for name, is_buffer in self._states.items() if is_buffer)


def copy_state(value: object) -> Any:
    """The state of `value` for a checkpoint; later changes of `value` do not change it.

    Tensors are copied to the CPU, those of modules and optimizers too. Another component decides itself.
    """
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, nn.Module | Optimizer):
        return copy_state(value.state_dict())
    if isinstance(value, Component):
        return value.state_dict()
    if isinstance(value, Mapping):
        return {key: copy_state(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copy_state(entry) for entry in value)
    return value


def load_state(current: object, saved: object, device: torch.device) -> Any:
    """The value that continues from a state.

    Args:
        current: The value before. A component loads the state in place, and moves to the device if it has a method
            `to`; modules stay where they are. A tensor names the device of its successor.
        saved: The result of `copy_state`.
        device: For tensors without a predecessor. One number as a tensor stays on the CPU: torch joins it with tensors
            of any device, and optimizers keep their counts of steps there.

    Returns:
        The component `current`, or a copy of `saved`.
    """
    if isinstance(current, Component):
        current.load_state_dict(saved)
        if hasattr(current, "to") and not isinstance(current, nn.Module):
            current.to(device)
        return current
    if isinstance(saved, Tensor):
        place = current.device if isinstance(current, Tensor) else device if saved.dim() else saved.device
        return saved.to(place, copy=True)
    if isinstance(saved, Mapping):
        before = current if isinstance(current, Mapping) else {}
        return {key: load_state(before.get(key), entry, device) for key, entry in saved.items()}
    if isinstance(saved, list | tuple):
        entries = current if isinstance(current, list | tuple) and len(current) == len(saved) else [None] * len(saved)
        return type(saved)(load_state(entry, one, device) for entry, one in zip(entries, saved, strict=True))
    return saved


def count_bytes(value: object) -> int:
    """Bytes of all tensors in `value`; a component may count its own as `nbytes`."""
    if isinstance(value, nn.Module):
        return count_bytes([*value.parameters(), *value.buffers()])
    if isinstance(value, Optimizer):
        return count_bytes(list(value.state.values()))
    if isinstance(value, Mapping):
        return sum(count_bytes(entry) for entry in value.values())
    if isinstance(value, list | tuple):
        return sum(count_bytes(entry) for entry in value)
    return int(getattr(value, "nbytes", 0))
