"""Trees of tensors and plain values as JSON and tensors: nothing that is read back can name code."""

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# The kinds of values that JSON does not know, each written as an object of one entry.
_TENSOR, _TUPLE, _DICT = "tensor", "tuple", "dict"


def to_json(value: Any, tensors: list[Tensor]) -> Any:
    """A value as JSON knows it; its tensors are appended to `tensors`, copied to the host.

    Raises:
        TypeError: If a part of it is neither a tensor nor a plain value.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        tensors.append(value.detach().cpu().contiguous().clone())
        return {_TENSOR: len(tensors) - 1}
    if isinstance(value, list):
        return [to_json(part, tensors) for part in value]
    if isinstance(value, tuple):
        return {_TUPLE: [to_json(part, tensors) for part in value]}
    if isinstance(value, dict):  # keys may be numbers
        return {_DICT: [[to_json(key, tensors), to_json(part, tensors)] for key, part in value.items()]}
    raise TypeError(f"A saved buffer holds tensors and plain values, got {type(value).__name__}.")


def from_json(value: Any, tensor: Callable[[int], Tensor]) -> Any:
    """What `to_json` was given; `tensor` finds each of the tensors by its number.

    Raises:
        TypeError: If it is not what `to_json` returns.
    """
    if isinstance(value, list):
        return [from_json(part, tensor) for part in value]
    if not isinstance(value, dict):
        return value
    match list(value.items()):
        case [(kind, int(number))] if kind == _TENSOR:
            return tensor(number)
        case [(kind, list(parts))] if kind == _TUPLE:
            return tuple(from_json(part, tensor) for part in parts)
        case [(kind, list(pairs))] if kind == _DICT and all(
            isinstance(pair, list) and len(pair) == 2 for pair in pairs
        ):
            return {from_json(key, tensor): from_json(part, tensor) for key, part in pairs}
    raise TypeError(f"an object of {', '.join(value)}")


def as_bytes(value: Any) -> Tensor:
    """JSON as a tensor of bytes (m,)."""
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
