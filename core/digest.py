"""Digests of tensors and plain values: CRC-32, which takes a fraction of the time of a copy."""

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

_UNKNOWN_TO_NUMPY = (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)


def digest(value: object, before: int = 0) -> int:
    """The CRC-32 of a tensor, an array, a plain value, or nested mappings, lists and tuples of these.

    Equal values have equal digests in all processes: the order of keys does not count, and a list equals a tuple. An
    object of another kind counts by the name of its class alone.

    Args:
        value: The value. A tensor of another device is copied to the CPU.
        before: The digest of what came before, which this one continues.
    """
    if isinstance(value, Tensor | np.ndarray):
        return _of_array(value, before)
    if isinstance(value, Mapping):
        before = _of_text(f"{len(value)} entries", before)
        for key in sorted(value, key=repr):
            before = digest(value[key], _of_text(repr(key), before))
        return before
    if isinstance(value, list | tuple):
        before = _of_text(f"{len(value)} values", before)
        for entry in value:
            before = digest(entry, before)
        return before
    is_plain = value is None or isinstance(value, bool | int | float | str | bytes | np.generic)
    return _of_text(repr(value) if is_plain else type(value).__qualname__, before)


def bytes_digest(tensor: Tensor, before: int) -> int:
    """The CRC-32 of the bytes of a dense CPU tensor, without its shape; `before` is that of earlier bytes."""
    own = tensor.contiguous()
    if own.dtype in _UNKNOWN_TO_NUMPY:
        own = own.reshape(-1).view(torch.uint8)
    return zlib.crc32(own.numpy().data, before)


def as_text(found: int) -> str:
    """A digest as eight hexadecimal digits."""
    return f"{found:08x}"


def _of_array(value: "Tensor | np.ndarray", before: int) -> int:
    if isinstance(value, Tensor):
        if is_lazy(value):
            return _of_text("a parameter without a shape", before)
        dense = value.detach() if value.layout is torch.strided else value.detach().to_dense()
        return bytes_digest(dense.cpu(), _of_text(f"{value.dtype} {tuple(value.shape)}", before))
    if value.dtype.hasobject:
        return digest(value.tolist(), before)
    return zlib.crc32(np.ascontiguousarray(value).tobytes(), _of_text(f"{value.dtype} {value.shape}", before))


def _of_text(text: str, before: int) -> int:
    return zlib.crc32(text.encode(errors="replace"), before)
