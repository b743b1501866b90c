"""Named tensors in a folder that several workers write together, with torch.distributed.checkpoint (DCP)."""

import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from redwood.buffers.errors import StorageError

# DCP writes it last, and under another name until it is whole.
_INDEX = ".metadata"


def is_complete(directory: Path) -> bool:
    """Whether all workers have written all of their tensors."""
    return (directory / _INDEX).is_file()


def write(tensors: dict[str, Tensor], directory: Path, group: ProcessGroup | None) -> None:
    """Write the tensors of all workers; what was there before is gone.

    Args:
        tensors: Those of this worker, on the host; no other worker has one of the same name.
        directory: Folder that all workers see.
        group: All of them; None if this one is alone.

    Raises:
        StorageError: If one of the workers cannot write.
    """
    _allow_single_process()
    try:
        save(tensors, storage_writer=_CleanWriter(directory), process_group=group, no_dist=group is None)
    except CheckpointException as error:
        raise StorageError(
            f"The buffers cannot be written to {directory} ({_reason(error)}); make room there, or choose another one."
        ) from error


class _CleanWriter(FileSystemWriter):
    """Removes what was saved before, the index first: half of it and half of something new must not look complete."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        super().set_up_storage_writer(is_coordinator, *args, **kwargs)
        if is_coordinator:  # the others do not write before it has planned
            directory = Path(self.path)
            (directory / _INDEX).unlink(missing_ok=True)
            for file in directory.glob("*.distcp"):
                file.unlink()


def shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """The names and shapes of all tensors.

    Raises:
        ValueError: If they are not complete, or damaged.
    """
    if not is_complete(directory):
        raise ValueError(f"The buffers in {directory} were not saved completely; resume from another checkpoint.")
    try:
        found = FileSystemReader(directory).read_metadata().state_dict_metadata
        return {name: tuple(one.size) for name, one in found.items() if isinstance(one, TensorStorageMetadata)}
    except Exception as error:  # what is no pickle raises anything
        raise _damaged(directory, error) from error


def read(tensors: Mapping[str, Tensor], directory: Path) -> None:
    """Read some of the tensors into memory of the same shapes; no other worker has to.

    Raises:
        ValueError: If they are damaged.
    """
    _allow_single_process()
    try:
        load(dict(tensors), storage_reader=FileSystemReader(directory), no_dist=True)
    except (OSError, CheckpointException) as error:
        raise _damaged(directory, error) from error


def packed(value: dict[str, Any]) -> Tensor:
    """Tensors and plain values as a tensor of bytes (m,)."""
    memory = BytesIO()
    torch.save(value, memory)
    return torch.frombuffer(memory.getbuffer(), dtype=torch.uint8)


def read_packed(name: str, n_bytes: int, directory: Path) -> dict[str, Any]:
    """Read what was packed into a tensor of so many bytes.

    Raises:
        ValueError: If it is damaged.
    """
    memory = bytearray(n_bytes)
    read({name: torch.frombuffer(memory, dtype=torch.uint8)}, directory)
    try:
        value: dict[str, Any] = torch.load(BytesIO(memory), map_location="cpu", weights_only=True)
    except Exception as error:  # as above
        raise _damaged(directory, error) from error
    return value


def _damaged(directory: Path, error: BaseException) -> ValueError:
    return ValueError(f"The buffers in {directory} are damaged ({_reason(error)}); resume from another checkpoint.")


def _reason(error: BaseException) -> str:
    """What happened on the first worker on which something did."""
    failures = getattr(error, "failures", None)
    cause = next(iter(failures.values()))[0] if failures else error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"


def _allow_single_process() -> None:
    # DCP warns of what we ask for. `warnings.catch_warnings` is not to be used in a thread beside others.
    warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized", UserWarning)
