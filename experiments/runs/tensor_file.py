"""A state of tensors and plain values in one safetensors file: it can be read by any program, and unpickles nothing."""

import hashlib
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from redwood.core.errors import DataError, RedwoodError, reason_of
from redwood.core.files import check_regular, replacing
from redwood.core.state import State

# The entry of the file's metadata that holds all but the tensors.
STRUCTURE = "redwood"
# The entry that holds the hash of all bytes of the file, computed with this value in its place.
SEAL = "redwood_sha256"
_UNSEALED = "0" * 64
_LONGEST_HEADER = 100 * 2**20  # that safetensors reads


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
        texts = {"format": "pt", SEAL: _UNSEALED, STRUCTURE: json.dumps(structure, allow_nan=False)}
        content = memoryview(save(tensors, texts))
    except (SafetensorError, KeyError, ValueError) as error:
        raise RedwoodError(f"A tensor of the state has no form in a safetensors file ({reason_of(error)}).") from error
    start = _place_of_seal(bytes(content[: 8 + int.from_bytes(content[:8], "little")]))
    seal = hashlib.sha256(content).hexdigest().encode()
    with replacing(path) as temporary, temporary.open("wb") as file:
        for part in (content[:start], seal, content[start + len(seal) :]):
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def _place_of_seal(header: bytes) -> int:
    """Return the position of the hash; -1 if there is none. Texts in the structure have their quotes escaped."""
    found = re.search(f'"{SEAL}":"[0-9a-f]{{{len(_UNSEALED)}}}"'.encode(), header)
    return -1 if found is None else found.end() - 1 - len(_UNSEALED)


def _check_seal(path: Path) -> None:
    """Raise `ValueError` if the file has a seal that does not match its bytes, and `KeyError` if it has none."""
    with path.open("rb") as file:
        size = file.read(8)
        header = size + file.read(min(int.from_bytes(size, "little"), _LONGEST_HEADER))
        start = _place_of_seal(header)
        if start < 0:
            raise KeyError(SEAL)
        stop = start + len(_UNSEALED)
        digest = hashlib.sha256(header[:start] + _UNSEALED.encode() + header[stop:])
        while chunk := file.read(2**20):
            digest.update(chunk)
    if header[start:stop] != digest.hexdigest().encode():
        raise ValueError("wrong seal")


def read_state(path: Path) -> State:
    """Read what `write_state` wrote, onto the CPU.

    Raises:
        DataError: If its bytes are not those that were written, or not by redwood.
    """

    def decode(value: object) -> Any:
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
        check_regular(path)
        with safe_open(path, "pt", device="cpu") as file, torch.no_grad():
            _check_seal(path)
            structure = json.loads((file.metadata() or {})[STRUCTURE])
            return {key: decode(value) for key, value in structure.items()}
    except KeyError as error:
        raise DataError(
            f"The file {path} was not written by redwood's export, or by an earlier version, or was changed; export "
            "the run again."
        ) from error
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"The file {path} is damaged ({reason_of(error)}); export the run again.") from error
