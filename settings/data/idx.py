"""The idx file format of MNIST and its relatives, plain or compressed with gzip."""

import gzip
import math
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from redwood.settings.errors import DataError

_UINT8 = 0x08


def find_idx(folders: Iterable[Path], names: list[str]) -> list[Path] | None:
    """Return the paths of all `names`, each plain or with `.gz`, in the first folder that holds them all; else None."""
    for folder in folders:
        found = [path for name in names for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        if {path.name.removesuffix(".gz") for path in found} == set(names):
            return [next(path for path in found if path.name.removesuffix(".gz") == name) for name in names]
    return None


def read_idx(path: Path, n_dimensions: int) -> Tensor:
    """Read a uint8 tensor with `n_dimensions` dimensions from an idx file (LeCun et al., 1998).

    The file is a magic number (two zero bytes, the type, the number of dimensions), the size of each dimension as a
    big-endian int32, then the values.

    Raises:
        DataError: If the file is unreadable, truncated, or holds something else.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"The file {path} cannot be read ({error}); fetch it again.") from error
    start = 4 + 4 * n_dimensions
    header, values = data[:start], data[start:]
    intact = len(header) == start and header[:4] == bytes((0, 0, _UINT8, n_dimensions))
    shape = struct.unpack(f">{n_dimensions}I", header[4:]) if intact else ()
    if not intact or len(values) != math.prod(shape):
        raise DataError(
            f"The file {path} is truncated or no idx file of bytes in {n_dimensions} dimension(s); fetch it again."
        )
    return torch.from_numpy(np.frombuffer(values, dtype=np.uint8).reshape(shape).copy())
