"""Files of checkpoints: tensors and plain values, sealed by a hash, read only if whole and written by redwood."""

import hashlib
import os
import pickle
import zipfile
from pathlib import Path
from typing import IO

import torch

from redwood.core.errors import RedwoodError
from redwood.core.files import check_regular, replacing
from redwood.core.state import State
from redwood.engine.fingerprint import STAMP

# What the user can do if a checkpoint cannot be used: one from between two phases, or one from inside a phase.
RESTART_RUN = "start the run anew"
RESTART_PHASE = "remove it to go on from the start of its phase"

# Follows the last byte that torch writes (readers of zip files ignore it): the hash of all bytes before it.
_SEAL = b"\nredwood sha256 "
_SEAL_BYTES = len(_SEAL) + 64 + 1
_CHUNK = 1 << 20


class _HashedFile:
    """A file that is hashed while it is written, from its first byte to its last.

    Attributes:
        error: Why the file could not be written. torch reports other errors then, about positions in the file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def write_checkpoint(content: State, path: Path) -> None:
    """Save tensors and plain values with a seal; a reader finds the old file or the new one, never a part."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        hashed = _HashedFile(file)
        try:
            torch.save(content, hashed)  # type: ignore[arg-type]  # torch needs only `write` and `flush`
        except RuntimeError:
            if hashed.error is not None:
                raise hashed.error from None
            raise
        file.write(_SEAL + hashed.digest.hexdigest().encode() + b"\n")
        # On the disk before the rename: older checkpoints are removed next, and the power may be cut.
        file.flush()
        os.fsync(file.fileno())


def read_checkpoint(path: Path, remedy: str) -> State:
    """Load what `write_checkpoint` wrote, on the CPU. Nothing in it is executed.

    Args:
        path: The file.
        remedy: What the user can do if the file cannot be used, for the error message.

    Raises:
        RedwoodError: If the file is cut short, or its bytes are not those that were written.
    """
    try:
        check_regular(path)
        sealed = _check_seal(path)
        content = torch.load(path, weights_only=True, map_location="cpu")
    except MemoryError:
        raise
    except pickle.UnpicklingError as error:
        raise RedwoodError(
            f"The checkpoint {path} is damaged or holds more than tensors and plain values, which are all that is "
            f"loaded; {remedy}."
        ) from error
    except Exception as error:  # the readers of torch and zipfile raise anything when the bytes are wrong
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
    """True if the file has a seal.

    Raises:
        ValueError: If the seal, or the check sum of a part of the file, does not match the bytes.
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
