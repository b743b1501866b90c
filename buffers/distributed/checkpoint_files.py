"""Files of a checkpoint: trees of tensors and plain values as JSON and raw bytes, so that reading runs no code."""

import ctypes
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import IO, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from redwood.buffers.distributed.peers import lost_workers
from redwood.core.errors import BufferInputError, StorageError
from redwood.core.files import replacing
from redwood.core.state import State
from redwood.core.workers import gather_objects

Part = TypeVar("Part")

# Values as JSON knows them.
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

# Kinds of values that JSON does not know; each is written as an object of one entry.
_TENSOR, _TUPLE, _DICT = "tensor", "tuple", "dict"


def to_json(value: object, tensors: list[Tensor]) -> Json:
    """A value as JSON; copies of its tensors on the host are appended to `tensors`.

    Raises:
        TypeError: If an entry is neither a tensor nor a plain value.
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


def from_json(value: object, tensor: Callable[[int], Tensor]) -> object:
    """The value that `to_json` was given; `tensor` maps numbers to tensors.

    Raises:
        TypeError: If `to_json` returns no such value.
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


def as_bytes(value: Json) -> Tensor:
    """JSON as a tensor of bytes (m,)."""
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


INDEX = "index.json"
FORMAT = 4
# The index of the first format, a pickle.
_OLD_INDEX = ".metadata"


@dataclass(frozen=True)
class Piece:
    """The place of a tensor.

    Attributes:
        worker: The worker that has written it.
        increment: Number of that worker's file: 0 for one with all rows, the next ones for changed rows.
        offset: Bytes from the start of that file.
        dtype: Its dtype, as `torch` names it.
        shape: Its shape.
        checksum: Checksum of its bytes.
    """

    worker: int
    increment: int
    offset: int
    dtype: str
    shape: tuple[int, ...]
    checksum: str

    @property
    def file(self) -> str:
        """Name of the file, which stays the same in all checkpoints that share it."""
        return _file_name(self.worker, self.increment)


def is_complete(directory: Path) -> bool:
    """True if all workers have written all of their tensors."""
    return (directory / INDEX).is_file()


def write(
    tensors: Mapping[str, Tensor],
    directory: Path,
    rank: int,
    group: ProcessGroup | None,
    earlier: Mapping[str, Piece] = MappingProxyType({}),
) -> dict[str, Piece]:
    """Write the tensors of all workers; the former content of the folder is removed, except for earlier pieces.

    Args:
        tensors: The tensors of this worker, on the host; their names are unique over all workers.
        directory: Folder that all workers see.
        rank: Number of this worker.
        group: The group of all workers; None for one worker.
        earlier: Further pieces of this worker, whose files are in the folder already.

    Returns:
        All pieces of this worker.

    Raises:
        StorageError: If one of the workers cannot write.
    """
    own_files = {piece.file for piece in earlier.values()}
    kept = set().union(*_all_do(lambda: own_files, directory, group))

    def clear() -> None:
        if rank == 0:
            directory.mkdir(parents=True, exist_ok=True)
            # The index first: a mixture of old and new files must not look complete.
            (directory / INDEX).unlink(missing_ok=True)
            for file in directory.glob("shard_*.bin"):
                if file.name not in kept:
                    file.unlink()

    def write_own() -> dict[str, Piece]:
        for name in own_files:  # another process may have removed them
            (directory / name).stat()
        increment = 1 + max((piece.increment for piece in earlier.values()), default=-1)
        return {**earlier, **_write_shard(tensors, directory, rank, increment)}

    _all_do(clear, directory, group)
    found = _all_do(write_own, directory, group)

    def finish() -> None:
        if rank == 0:
            pieces = {name: vars(piece) for shard in found for name, piece in shard.items()}
            _write_index({"format": FORMAT, "tensors": pieces}, directory)

    _all_do(finish, directory, group)
    return found[rank]


def _all_do(work: Callable[[], Part], directory: Path, group: ProcessGroup | None) -> list[Part]:
    """The result of a piece of work on each worker; if one worker fails, all of them raise an error.

    Raises:
        StorageError: If one of them cannot write.
    """
    value: Part | None = None
    failure: str | None = None
    error: Exception | None = None
    try:
        value = work()
    except Exception as raised:  # the others must not wait for this worker
        error, failure = raised, f"{type(raised).__name__}: {' '.join(str(raised).split())}"
    with lost_workers():
        answers = gather_objects((value, failure), group)
    if error is not None and not isinstance(error, OSError):
        raise error
    reason = next((failure for _, failure in answers if failure is not None), None)
    if reason is not None:
        raise StorageError(
            f"The buffers cannot be written to {directory} ({reason}); make room there, or choose another one."
        ) from error
    return [value for value, _ in answers if value is not None]


def _write_shard(tensors: Mapping[str, Tensor], directory: Path, rank: int, increment: int) -> dict[str, Piece]:
    pieces = {}
    with (directory / _file_name(rank, increment)).open("wb") as file:
        for name, tensor in tensors.items():
            data = _memory_of(tensor)
            dtype = str(tensor.dtype).removeprefix("torch.")
            pieces[name] = Piece(rank, increment, file.tell(), dtype, tuple(tensor.shape), _checksum(data))
            file.write(data)
        _flush(file)
    return pieces


def _write_index(content: State, directory: Path) -> None:
    with replacing(directory / INDEX) as pending, pending.open("wb") as file:
        file.write(_sealed(content))
        _flush(file)


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sealed(content: State) -> bytes:
    """JSON of a content and its checksum, in the only form that is accepted when it is read."""
    text = json.dumps(content, separators=(",", ":"))
    return json.dumps({"checksum": _checksum(text.encode()), "content": content}, separators=(",", ":")).encode()


class CheckpointReader:
    """The tensors of a folder.

    Attributes:
        shapes: Their shapes by name.
    """

    def __init__(self, directory: Path) -> None:
        """Read the index.

        Raises:
            ValueError: If the tensors are not complete, or damaged.
        """
        self._directory = directory
        if not is_complete(directory):
            if (directory / _OLD_INDEX).exists():
                raise BufferInputError(
                    f"The buffers in {directory} were saved by an earlier version of redwood in a format that could "
                    "run code when it is read; start the run anew."
                )
            raise BufferInputError(
                f"The buffers in {directory} were not saved completely; resume from another checkpoint."
            )
        try:
            self._pieces = _read_index(directory / INDEX)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self.damaged(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
        self.shapes = {name: piece.shape for name, piece in self._pieces.items()}

    def read(self, name: str, out: Tensor | None = None) -> Tensor:
        """A tensor, read into `out` if given: contiguous memory of as many bytes on the host.

        Raises:
            ValueError: If it is damaged.
        """
        if name not in self._pieces:
            raise self.damaged(f"{name} is missing")
        piece, dtype = self._pieces[name], getattr(torch, self._pieces[name].dtype)
        n_bytes = prod(piece.shape) * dtype.itemsize
        try:
            with (self._directory / piece.file).open("rb") as file:
                if os.fstat(file.fileno()).st_size < piece.offset + n_bytes:
                    raise self.damaged(f"{name} is cut short")
                tensor = torch.empty(piece.shape, dtype=dtype) if out is None else out
                data = _memory_of(tensor)
                file.seek(piece.offset)
                file.readinto(data)
        except OSError as error:
            raise self.damaged(f"{type(error).__name__}: {error}") from error
        if len(data) != n_bytes or _checksum(data) != piece.checksum:
            raise self.damaged(f"the checksum of {name} is wrong")
        return tensor

    def unpacked(self, name: str) -> State:
        """The state that `packed` was given.

        Raises:
            ValueError: If it is damaged.
        """
        text = self.read(name)
        try:
            value = json.loads(bytes(_memory_of(text)))
        except (ValueError, RecursionError) as error:  # also if it is no text
            raise self.damaged(f"{name} is no JSON") from error
        try:
            state = from_json(value, lambda number: self.read(f"{name}/{number}"))
        except TypeError as error:  # keys that no dictionary takes
            raise self.damaged(f"{name} is no saved state") from error
        if not isinstance(state, dict):
            raise self.damaged(f"{name} is no saved state")
        return state

    def damaged(self, reason: str) -> ValueError:
        """The error to raise if something in the files is wrong, for a reason in a few words."""
        return BufferInputError(
            f"The buffers in {self._directory} are damaged ({reason}); resume from another checkpoint."
        )


def packed(name: str, value: State) -> dict[str, Tensor]:
    """Tensors and plain values as tensors to `write`, copied."""
    tensors: list[Tensor] = []
    text = as_bytes(to_json(value, tensors))
    return {name: text} | {f"{name}/{number}": tensor for number, tensor in enumerate(tensors)}


def _read_index(file: Path) -> dict[str, Piece]:
    data = file.read_bytes()
    read = json.loads(data)
    content = read["content"]
    if _sealed(content) != data:
        raise BufferInputError(f"the checksum of {INDEX} is wrong")
    if content["format"] != FORMAT:
        raise BufferInputError(f"format {content['format']}, and this version reads format {FORMAT}")
    return {name: _piece(entry) for name, entry in content["tensors"].items()}


def _piece(entry: State) -> Piece:
    piece = Piece(**{**entry, "shape": tuple(entry["shape"])})
    numbers = (piece.worker, piece.increment, piece.offset, *piece.shape)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise BufferInputError("a place is no number")
    if not isinstance(getattr(torch, piece.dtype, None), torch.dtype):
        raise BufferInputError(f"no dtype {piece.dtype}")
    return piece


def _file_name(worker: int, increment: int) -> str:
    return f"shard_{worker}.{increment}.bin" if increment else f"shard_{worker}.bin"


def _memory_of(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor on the host, which has to be kept as long as they are used."""
    assert tensor.is_contiguous()
    return memoryview((ctypes.c_ubyte * tensor.nbytes).from_address(tensor.data_ptr() or 0)) if tensor.nbytes else _NONE


_NONE = memoryview(bytearray())


def _checksum(data: bytes | memoryview) -> str:
    return blake2b(data, digest_size=16).hexdigest()
