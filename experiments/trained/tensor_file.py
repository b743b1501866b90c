"""A state of tensors and plain values in one safetensors file: it can be read by any program, and unpickles nothing."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from redwood.core.errors import DataError, RedwoodError, reason_of
from redwood.core.files import write_atomically
from redwood.core.state import State

# The entry of the file's metadata that holds all but the tensors.
STRUCTURE = "redwood"


def write_state(state: State, path: Path, prefix: str = "") -> None:
    """Write a state: its tensors by name, and its structure as JSON in the metadata of the file.

    Args:
        state: Tensors and plain values, and dictionaries, lists and tuples of these.
        path: The file.
        prefix: The beginning of names that is left out, such as `method.0.`.

    Raises:
        RedwoodError: If the state holds anything else.
    """
    tensors: dict[str, Tensor] = {}

    def encode(value: object, name: str) -> object:
        match value:
            case Tensor():
                key = name.removeprefix(prefix)
                while key in tensors:
                    key += "_"
                tensors[key] = value.detach().cpu().contiguous().clone()
                return {"tensor": key}
            case dict():
                pairs = [(encode(key, name), encode(entry, f"{name}.{key}")) for key, entry in value.items()]
                return {"dict": pairs}
            case list() | tuple():
                entries = [encode(entry, f"{name}.{number}") for number, entry in enumerate(value)]
                return entries if isinstance(value, list) else {"tuple": entries}
            case float() if not math.isfinite(value):
                return {"float": str(value)}
            case None | bool() | int() | float() | str():
                return value
        raise RedwoodError(f"The state {name} is a {type(value).__name__}, which a safetensors file cannot hold.")

    structure = {key: encode(value, key) for key, value in state.items()}
    try:
        content = save(tensors, {"format": "pt", STRUCTURE: json.dumps(structure, allow_nan=False)})
    except (SafetensorError, KeyError, ValueError) as error:
        raise RedwoodError(f"A tensor of the state has no form in a safetensors file ({reason_of(error)}).") from error
    write_atomically(path, content, durable=True)


def read_state(path: Path) -> State:
    """Read what `write_state` wrote, onto the CPU.

    Raises:
        DataError: If the file is damaged, or not by redwood.
    """

    def decode(value: Any) -> Any:
        match value:
            case {"tensor": str(key)}:
                return file.get_tensor(key)
            case {"dict": list(pairs)}:
                return {decode(key): decode(entry) for key, entry in pairs}
            case {"tuple": list(entries)}:
                return tuple(map(decode, entries))
            case {"float": str(text)}:
                return float(text)
            case list():
                return [decode(entry) for entry in value]
            case None | bool() | int() | float() | str():
                return value
        raise ValueError(f"unknown entry {value!r:.60}")

    try:
        with safe_open(path, "pt", device="cpu") as file, torch.no_grad():
            structure = json.loads((file.metadata() or {})[STRUCTURE])
            return {key: decode(value) for key, value in structure.items()}
    except KeyError as error:
        raise DataError(f"The file {path} was not written by redwood's --export; export the run again.") from error
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"The file {path} is damaged ({reason_of(error)}); export the run again.") from error
