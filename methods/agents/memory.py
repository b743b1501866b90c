"""A replay memory of Stable-Baselines3, as far as it is filled."""

from typing import Any

import numpy as np
import torch


def _arrays(memory: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Its arrays of transitions, (capacity, copies of the environment, ...)."""
    arrays = {name: value for name, value in vars(memory).items() if isinstance(value, np.ndarray)}
    return {name: array for name, array in arrays.items() if array.shape[:1] == (memory.buffer_size,)}


def memory_state(memory: Any) -> dict[str, Any]:
    """What it holds, as tensors and plain values."""
    size = memory.size()
    rows = {name: torch.from_numpy(array[:size]) for name, array in _arrays(memory).items()}
    return {"rows": rows, "pos": memory.pos, "full": memory.full}


def load_memory(memory: Any, state: dict[str, Any]) -> None:
    """Hold what an earlier one held.

    Raises:
        ValueError: If that was a memory of another kind.
    """
    arrays, rows = _arrays(memory), {name: value.numpy() for name, value in state["rows"].items()}
    pos, full = int(state["pos"]), bool(state["full"])
    size = memory.buffer_size if full else pos
    fits = arrays.keys() == rows.keys() and 0 <= pos < memory.buffer_size
    if not fits or any(
        (rows[name].shape, rows[name].dtype) != ((size, *array.shape[1:]), array.dtype)
        for name, array in arrays.items()
    ):
        raise ValueError("its replay memory is another one")
    for name, array in arrays.items():
        array[:size] = rows[name]
    memory.pos, memory.full = pos, full


def filled_bytes(memory: Any) -> int:
    """Bytes of the transitions that it holds."""
    size = memory.size()
    return sum(array[:size].nbytes for array in _arrays(memory).values())
