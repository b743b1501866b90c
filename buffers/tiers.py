"""Tiers: the kinds of memory that the rows of a buffer are kept in."""

import contextlib
import mmap
import os
import tempfile
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from redwood.buffers.layout import WORD, WORD_BYTES
from redwood.core.errors import BufferInputError, StorageError

Tier = Literal["cuda", "pinned", "host", "mmap"]
TIERS: tuple[str, ...] = get_args(Tier)
# From this number of words on, memory fills several huge pages.
HUGE_FROM = 2**19


def allocate(n_words: int, tier: str, *, device: torch.device | None = None, directory: str | None = None) -> Tensor:
    """Words (n_words,) of 16 bytes that are not initialised.

    Args:
        n_words: Number of words.
        tier: `cuda`, `pinned` (host memory that a GPU copies from without waiting), `host`, or `mmap`, a file that is
            mapped into memory. Its disk space is reserved at once, and it vanishes with the process.
        device: Which GPU, for `cuda`.
        directory: Where the file of `mmap` goes; default: the folder for temporary files.

    Raises:
        ValueError: If there is no such tier, or it needs a GPU and there is none.
        StorageError: If there is not enough memory or disk space.
    """
    if tier not in TIERS:
        raise BufferInputError(f"There is no tier {tier!r}; choose one of {', '.join(TIERS)}.")
    if tier in ("cuda", "pinned") and not torch.cuda.is_available():
        raise BufferInputError(f"The tier {tier} needs a CUDA device, and there is none; choose host or mmap.")
    if tier == "mmap":
        return _mapped(n_words, directory or tempfile.gettempdir())
    try:
        if tier == "cuda":
            return torch.empty(n_words, dtype=WORD, device=device or indexed(torch.device("cuda")))
        if tier == "pinned":
            return _pinned(n_words)
        huge = n_words >= HUGE_FROM and hasattr(mmap, "MADV_HUGEPAGE")  # Linux
        return _on_huge_pages(n_words) if huge else torch.empty(n_words, dtype=WORD)
    except (RuntimeError, OSError, OverflowError, TypeError) as error:  # the last two: more than can be addressed
        if tier == "cuda" and isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
            raise  # the GPU reports here an error of earlier work
        raise StorageError(
            f"A buffer of {n_words * WORD_BYTES:,} bytes does not fit into the tier {tier}; make it smaller."
        ) from error


def resolve(tier: str, device: torch.device) -> tuple[str, torch.device | None]:
    """The tier to use and its GPU, if any; `auto` stands for `cuda` if samples are there, and else for `host`."""
    if tier == "auto":
        tier = "cuda" if device.type == "cuda" else "host"
    return tier, indexed(device) if device.type == tier else None


def indexed(device: torch.device) -> torch.device:
    """The device with its number: `cuda` names the current GPU, but does not compare equal to `cuda:0`."""
    if device.type == "cuda" and device.index is None and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _on_huge_pages(n_words: int) -> Tensor:
    """Host memory in pages of 2 MiB, if the system has them: random access to rows is a third faster."""
    # Private: a forked process gets its own copy.
    memory = mmap.mmap(-1, n_words * WORD_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a system may be built without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=WORD)


class _RegisteredMap(mmap.mmap):
    """Host memory that a GPU copies from by itself, until nothing uses it any more."""

    _unregister: Callable[[int], object] | None = None

    def register(self, address: int) -> None:
        """Pin the pages at this address, which are its own.

        Raises:
            OSError: If the system does not allow it.
        """
        cudart: Any = torch.cuda.cudart()
        if int(code := cudart.cudaHostRegister(address, len(self), 0)):
            raise OSError(f"the CUDA error {code}")
        self._address, self._unregister = address, cudart.cudaHostUnregister

    def __del__(self) -> None:
        """Unpin the pages before they are unmapped."""
        if self._unregister is not None:
            self._unregister(self._address)


def _pinned(n_words: int) -> Tensor:
    """Pinned memory of this very size; that of torch's allocator is filled up to the next power of two."""
    # Shared: after a fork the pages of a private mapping may be copied, and the GPU would go on with the old ones.
    memory = _RegisteredMap(-1, max(1, n_words) * WORD_BYTES, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
    words = torch.frombuffer(memory, dtype=WORD)
    memory.register(words.data_ptr())
    return words[:n_words]


def _mapped(n_words: int, directory: str) -> Tensor:
    n_bytes = n_words * WORD_BYTES
    try:
        handle, path = tempfile.mkstemp(prefix="rehearsal-", dir=directory)
    except OSError as error:
        raise StorageError(f"No file can be made in {directory}: {error.strerror}; choose another folder.") from error
    nameless = f"/proc/self/fd/{handle}"
    if os.path.exists(nameless):  # a process that is killed while space is reserved leaves no file then
        os.unlink(path)
        path = nameless
    try:
        reserve(handle, n_bytes)
        return torch.from_file(path, shared=True, size=n_words, dtype=WORD)
    except (OSError, RuntimeError, OverflowError) as error:  # torch raises the latter two
        reason = error.strerror if isinstance(error, OSError) else "it cannot be mapped"
        raise StorageError(
            f"A buffer of {n_bytes:,} bytes does not fit into {directory}: {reason}; "
            "make it smaller or choose a folder on another disk."
        ) from error
    finally:
        os.close(handle)
        if path != nameless:
            os.unlink(path)  # the mapping keeps the space until the process ends, however it ends


def reserve(handle: int, n_bytes: int) -> None:
    """Reserve the disk space of a file: a write to a sparse file on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, n_bytes)
        return
    block = bytes(2**20)
    for start in range(0, n_bytes, len(block)):
        os.write(handle, block[: n_bytes - start])
