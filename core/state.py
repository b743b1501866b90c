"""The state of an object as tensors and plain values: copied for a checkpoint, loaded from one, counted in bytes."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

# What `state_dict` returns: tensors, plain values, and dictionaries and lists of these, by name.
State: TypeAlias = dict[str, Any]


@runtime_checkable
class Component(Protocol):
    """An object that saves and loads its own state: a module, an optimizer, a buffer."""

    def state_dict(self) -> Any:
        """The state."""

    def load_state_dict(self, state: Any) -> Any:
        """Continue from a state."""


def copy_state(value: Any) -> Any:
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


def load_state(current: Any, saved: Any, device: torch.device) -> Any:
    """The value that continues from a state.

    Args:
        current: The value before: a component loads the state in place, and a tensor names its device.
        saved: What `copy_state` returned.
        device: For tensors that have no tensor before them. One number as a tensor stays on the CPU: torch joins it
            with tensors of any device, and optimizers keep their counts of steps there.

    Returns:
        The component `current`, or a copy of `saved`.
    """
    if isinstance(current, Component):
        current.load_state_dict(saved)
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


def count_bytes(value: Any) -> int:
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
