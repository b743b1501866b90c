"""Checkpoints that are read only if they are whole and are this run's own: plain values and tensors, and a seal."""

import hashlib
import os
import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from redwood.core.errors import RedwoodError
from redwood.core.files import replacing
from redwood.runs.fingerprint import STAMP

# Behind the last byte of what torch writes, which readers of zip files pass over: the hash of all bytes before it.
_SEAL = b"\nredwood sha256 "
_SEAL_BYTES = len(_SEAL) + 64 + 1
_CHUNK = 1 << 20


class _HashedFile:
    """A file that is hashed while it is written, from its first byte to its last."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        """Write, and take into the hash."""
        self.digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        """Pass it on."""
        self._file.flush()


def write_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Save tensors and plain values with a seal, so that a reader finds the old file or the new one, never a part."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        hashed = _HashedFile(file)
        torch.save(content, hashed)  # type: ignore[arg-type]
        file.write(_SEAL + hashed.digest.hexdigest().encode() + b"\n")
        # After a power cut the name must not stand for an empty file: older checkpoints are removed next.
        file.flush()
        os.fsync(file.fileno())


def read_checkpoint(path: Path, remedy: str) -> dict[str, Any]:
    """Load what `write_checkpoint` wrote, on the CPU. Nothing in it is executed.

    Args:
        path: The file.
        remedy: What the user can do if it cannot be used, for the error message.

    Raises:
        RedwoodError: If the file is cut short, or its bytes are not those that were written.
    """
    try:
        sealed = _check_seal(path)
        content = torch.load(path, weights_only=True, map_location="cpu")
    except MemoryError:
        raise
    except pickle.UnpicklingError as error:
        raise RedwoodError(
            f"The checkpoint {path} is damaged or holds more than tensors and plain values, which are all that is "
            f"loaded; {remedy}."
        ) from error
    except Exception as error:  # torch's and zipfile's readers raise anything when bytes are not what they expect
        raise RedwoodError(f"The checkpoint {path} is damaged ({type(error).__name__}); {remedy}.") from error
    if not isinstance(content, dict):
        raise RedwoodError(
            f"The checkpoint {path} is damaged or another program's: it holds a {type(content).__name__}; {remedy}."
        )
    if STAMP in content and not sealed:
        raise RedwoodError(
            f"The checkpoint {path} was changed after it was written, or is of another version of redwood; {remedy}."
        )
    return content


def _check_seal(path: Path) -> bool:
    """Whether the file has a seal.

    Raises:
        ValueError: If the seal, or the check sum of a part of the file, is not that of its bytes.
    """
    with path.open("rb") as file:
        left = file.seek(0, os.SEEK_END) - _SEAL_BYTES
        file.seek(max(left, 0))
        seal = file.read()
        file.seek(0)
        if left >= 0 and seal.startswith(_SEAL):
            digest = hashlib.sha256()
            while left > 0:
                chunk = file.read(min(left, _CHUNK))
                digest.update(chunk)
                left -= len(chunk)
            if seal[len(_SEAL) :] != digest.hexdigest().encode() + b"\n":
                raise ValueError("wrong seal")
            return True
    # torch.load does not look at the check sums: flipped bits would become other weights.
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"wrong check sum of {damaged}")
    return False
