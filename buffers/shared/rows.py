"""The rows of a worker in a file in shared memory, with a journal that puts them back to a mark."""

import contextlib
import fcntl
import json
import os
import secrets
import weakref
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np
import torch
from torch import Tensor

from redwood.buffers.layout import WORD, RowLayout
from redwood.buffers.randomness import Array
from redwood.buffers.shared.journal import JournalError, JournalSegment, for_this_user
from redwood.buffers.shared.owner import (
    Owner,
    named_files,
    owner_of_this_worker,
    remove_stale,
)
from redwood.buffers.tiers import reserve
from redwood.core.errors import BufferInputError, StorageError
from redwood.core.files import replacing
from redwood.core.torchrun import is_restarted
from redwood.core.user_warnings import warn

FOLDER = Path("/dev/shm")
FORMAT = 1
# What is left of shared memory to workers of DataLoaders and to NCCL, which die without: a part, and a bound on it.
HEADROOM, MOST_HEADROOM = 0.25, 2**30
# Marks whose rows can be brought back: the checkpoint of the last one may not be complete when a worker is killed.
KEPT_MARKS = 2


class RowsLostError(Exception):
    """The rows of a mark cannot be brought back; the message says why, as the end of a sentence about them."""


@dataclass
class Mark:
    """A state of the rows that can be brought back.

    Attributes:
        segment: Number of the segment of the journal that begins at the mark.
        filled: Number of slots that were filled.
        names: Names of the mark; each checkpoint has its own.
    """

    segment: int
    filled: int
    names: list[str] = field(default_factory=list)


@dataclass
class _Index:
    """Content of the index: it describes the other files, and is only ever replaced as a whole."""

    key: str  # in the names of the files; each set of rows has another one
    world: int
    capacity: int
    layout: str
    marks: list[Mark]
    format: int = FORMAT


# The rows of this process that are in use, by number.
_IN_USE: "weakref.WeakValueDictionary[int, SharedRows]" = weakref.WeakValueDictionary()


class SharedRows:
    """Files of one worker: its rows, an index, and segments of an undo journal, one for each mark that is kept.

    Before a row that was filled at a mark is overwritten for the first time since the last mark, the journal notes what
    it held. So each segment holds at most as many rows as the buffer, and two of them are kept.

    If there is no room for the journal, the rows go on without marks until the next one.

    Everything survives the end of the process at any moment, and nothing survives that of the machine.
    """

    def __init__(
        self, owner: Owner, rank: int, world: int, directory: str | None = None, local: range | None = None
    ) -> None:
        """Name the files; none is opened yet.

        Args:
            owner: The process whose end is that of the files.
            rank: Number of this worker among all processes of the run.
            world: Number of these processes.
            directory: Folder of the files; default: that of shared memory.
            local: Numbers of the processes on this machine; default: all.
        """
        self._owner, self._rank, self._world = owner, rank, world
        self._local = range(world) if local is None else local
        self._folder = FOLDER if directory is None else Path(directory)
        # A process finds its rows again by the order in which it makes its buffers.
        self._number = next(number for number in range(len(_IN_USE) + 1) if number not in _IN_USE)
        _IN_USE[self._number] = self
        self._index: _Index | None = None
        self._segment: JournalSegment | None = None
        self._file: BinaryIO | None = None
        self._is_unchanged = True  # since the last mark
        self._stride = 0
        self._rows: Array | None = None
        self._unsaved = np.zeros(0, dtype=bool)  # slots that need a record before they are overwritten
        self._has_warned = False

    @classmethod
    def of_this_worker(cls, directory: str | None = None) -> "SharedRows":
        """The files of this worker of torchrun's.

        Raises:
            BufferInputError: If torchrun has not started it.
        """
        owner, rank = owner_of_this_worker(), int(os.environ["RANK"])
        first = rank - int(os.environ["LOCAL_RANK"])
        local = range(first, first + int(os.environ["LOCAL_WORLD_SIZE"]))
        return cls(owner, rank, int(os.environ["WORLD_SIZE"]), directory, local)

    def __reduce__(self) -> NoReturn:
        """Refuse a copy: it would write to the same files.

        Raises:
            BufferInputError: Always.
        """
        raise BufferInputError(
            "Rows of the tier shared belong to one process; to pickle a buffer, choose the tier host."
        )

    # Making, and bringing back.

    def allocate(self, layout: RowLayout, capacity: int) -> Tensor:
        """New rows (capacity, words); rows and journal of before are removed.

        Raises:
            StorageError: If there is not enough space.
        """
        self._release()
        try:
            remove_stale(self._folder)
            self._remove_others(set())
        except OSError as error:
            raise StorageError(
                f"The folder {self._folder} cannot be used ({error.strerror}); choose another one."
            ) from error
        index = _Index(secrets.token_hex(4), self._world, capacity, _described(layout), [])
        self._check_room(capacity, layout.stride)
        try:
            self._reserve(self._rows_file(index), capacity * layout.stride)
        except OSError as error:
            self._rows_file(index).unlink(missing_ok=True)
            raise StorageError(
                f"A buffer of {capacity * layout.stride:,} bytes does not fit into {self._folder} ({error.strerror}); "
                "make it smaller, enlarge that file system, choose another folder, or the tier host."
            ) from error
        self._owner.start_keeper(self._folder)
        rows = self._mapped(index, layout)
        self._begin(index, Mark(0, 0), layout.stride)
        return rows

    def _check_room(self, capacity: int, stride: int) -> None:
        """Make sure, before any file is made, that rows and journals of all workers of this machine fit.

        Raises:
            StorageError: If they do not, or if too little would be left to others.
        """
        free, headroom = self._free(), self._headroom()
        # Of these workers some may have made their rows already.
        heads = tuple(f"{self._owner.prefix}{rank}-{self._number}." for rank in self._local)
        files = named_files(self._folder, self._owner.prefix)
        free += sum(_size(path) for name, path in files if name.startswith(heads))
        one = capacity * stride + KEPT_MARKS * JournalSegment.size_of(capacity, stride)
        needed = len(self._local) * one
        if needed + headroom > free:
            raise StorageError(
                f"Rows and journals of {len(self._local)} workers take {needed:,} bytes of {self._folder}, "
                f"{headroom:,} stay for others, such as workers of DataLoaders, and {free:,} are free; make the buffer "
                "smaller, enlarge that file system (docker run --shm-size), choose another folder, or the tier host."
            )

    def _free(self) -> int:
        status = os.statvfs(self._folder)
        return status.f_bavail * status.f_frsize

    def _headroom(self) -> int:
        """Bytes of the file system that others need; it has no others if it is not that of shared memory."""
        if not FOLDER.exists() or self._folder.stat().st_dev != FOLDER.stat().st_dev:
            return 0
        status = os.statvfs(self._folder)
        return min(int(HEADROOM * status.f_blocks * status.f_frsize), MOST_HEADROOM)

    def recover(self, layout: RowLayout, capacity: int, name: str, filled: int) -> Tensor:
        """The rows (capacity, words) that an earlier process has left, as they were at a mark.

        Args:
            layout: The layout of a row.
            capacity: Number of rows.
            name: Name of the mark.
            filled: Number of slots that were filled then.

        Raises:
            RowsLostError: If they cannot be brought back.
        """
        self._release()
        self._find(name)
        index = self._read_index(self._number)
        self._check(index, layout, capacity)
        place = next((place for place, mark in enumerate(index.marks) if name in mark.names), None)
        if place is None:
            raise RowsLostError("are not those of this checkpoint")
        mark = index.marks[place]
        if mark.filled != filled:
            raise RowsLostError(f"are {mark.filled}, and those of the checkpoint {filled}")
        rows = self._mapped(index, layout)
        try:
            self._roll_back(index, place, layout.stride)
        except (JournalError, StorageError) as error:
            self._release()
            raise RowsLostError(f"cannot be rolled back, as {error}") from error
        self._owner.start_keeper(self._folder)
        self._stride, self._is_unchanged = layout.stride, True
        self._note_unsaved()
        return rows

    @property
    def were_there(self) -> bool:
        """True if an earlier process should have left rows, or has done so."""
        return is_restarted() or self._index_file.exists()

    def _roll_back(self, index: _Index, place: int, stride: int) -> None:
        """Put rows back, from the newest segment to that of the mark; each step may be repeated after a kill."""
        assert self._rows is not None
        segments = [
            JournalSegment(self._segment_file(index, mark), stride, fresh=False) for mark in index.marks[place:]
        ]
        for segment in reversed(segments):
            for slots, rows in segment.newest_first():
                if slots.min() < 0 or slots.max() >= index.capacity:
                    raise JournalError("their journal names slots that do not exist")
                self._rows[slots] = rows
        for segment in segments[1:]:
            segment.close()
        self._replace_index(replace(index, marks=index.marks[: place + 1]))
        self._segment = segments[0]
        self._segment.clear()

    # While training.

    def mark(self, name: str, filled: int) -> None:
        """Name the state of the rows, of which the first `filled` slots are filled; marks before the last two go."""
        if self._index is None or not self._owner.is_alive():  # nobody would start this worker again
            return
        last = self._index.marks[-1] if self._index.marks else Mark(-1, -1)
        try:
            if not self._is_unchanged or last.filled != filled:
                self._begin(self._index, Mark(last.segment + 1, filled, [name]), self._stride)
            elif name not in last.names:
                last.names.append(name)
                self._replace_index(self._index)
        except StorageError as error:
            self._give_up_marks(error)

    def before_write(self, slots: Tensor) -> None:
        """Note the rows in slots (n,), int64, that are needed to go back to a mark; they are overwritten next."""
        self._is_unchanged = False
        if self._rows is None or self._segment is None:
            return
        index = slots.cpu().numpy()
        needed = index[self._unsaved[index]]
        if len(needed):
            try:
                self._leave_headroom(len(needed))
                self._segment.append(needed, self._rows[needed])
            except StorageError as error:
                self._give_up_marks(error)
            else:
                self._unsaved[needed] = False

    def _leave_headroom(self, n: int) -> None:
        """Make sure that others, who may have filled the file system meanwhile, keep their part beside n records.

        Raises:
            StorageError: If they would not.
        """
        if self._free() - JournalSegment.size_of(n, self._stride) < self._headroom():
            raise StorageError(
                f"Others have filled {self._folder}, so that the journal of the buffer has no room; enlarge that file "
                "system, or make the buffer smaller."
            )

    def _give_up_marks(self, error: StorageError) -> None:
        """Go on without marks until the next one: training itself needs no journal.

        The index goes before a row changes, so that nobody goes back to a mark of which a record is missing.
        """
        assert self._index is not None
        self._index_file.unlink(missing_ok=True)
        if self._segment is not None:
            self._segment.close()
        self._segment, self._index = None, replace(self._index, marks=[])
        self._remove_others({self._rows_file(self._index)})
        if not self._has_warned:
            self._has_warned = True
            warn(f"{error} Until a later checkpoint finds room, workers that start again read their rows from disk.")

    # The files.

    @property
    def _stem(self) -> str:
        return f"{self._owner.prefix}{self._rank}-{self._number}"

    @property
    def _index_file(self) -> Path:
        return self._folder / f"{self._stem}.json"

    def _find(self, name: str) -> None:
        """Take the number of the files that have a mark, where this process has counted its buffers otherwise.

        In the earlier process a buffer that nothing used any more may still have had a number.
        """
        head = f"{self._owner.prefix}{self._rank}-"
        found = [entry.removeprefix(head).removesuffix(".json") for entry, _ in named_files(self._folder, head)]
        others = sorted(int(number) for number in found if number.isdecimal() and int(number) not in _IN_USE)
        for number in (self._number, *others):
            with contextlib.suppress(RowsLostError):
                if any(name in mark.names for mark in self._read_index(number).marks):
                    del _IN_USE[self._number]
                    self._number = number
                    _IN_USE[number] = self
                    return

    def _rows_file(self, index: _Index) -> Path:
        return self._folder / f"{self._stem}.{index.key}.rows"

    def _segment_file(self, index: _Index, mark: Mark) -> Path:
        return self._folder / f"{self._stem}.{index.key}.journal-{mark.segment}"

    def _begin(self, index: _Index, mark: Mark, stride: int) -> None:
        """Begin a segment of the journal at a mark; it counts once the index names it."""
        segment = JournalSegment(self._segment_file(index, mark), stride, fresh=True)
        self._replace_index(replace(index, marks=[*index.marks, mark][-KEPT_MARKS:]))
        if self._segment is not None:
            self._segment.close()
        self._segment, self._stride, self._is_unchanged = segment, stride, True
        self._note_unsaved()

    def _note_unsaved(self) -> None:
        assert self._index is not None
        self._unsaved = np.zeros(self._index.capacity, dtype=bool)
        self._unsaved[: max(mark.filled for mark in self._index.marks)] = True

    def _replace_index(self, index: _Index) -> None:
        try:
            with replacing(self._index_file) as place, open(place, "w", opener=for_this_user) as file:
                json.dump(asdict(index), file)
        except OSError as error:
            raise StorageError(
                f"The index of the buffer in {self._folder} cannot be written ({error.strerror}); enlarge that file "
                "system, choose another folder, or the tier host."
            ) from error
        self._index = index
        self._remove_others({self._rows_file(index), *(self._segment_file(index, mark) for mark in index.marks)})

    def _remove_others(self, kept: set[Path]) -> None:
        """Remove files of this worker, and of workers that this machine has no more, but not those to be kept."""
        for name, path in named_files(self._folder, self._owner.prefix):
            rank = name.removeprefix(self._owner.prefix).partition("-")[0]
            is_own = name.startswith(f"{self._stem}.") and path not in {self._index_file, *kept}
            if is_own or (rank.isdecimal() and int(rank) not in self._local):
                path.unlink(missing_ok=True)

    def _reserve(self, path: Path, n_bytes: int) -> None:
        """Make a file with all of its space."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            reserve(handle, n_bytes)
        finally:
            os.close(handle)

    def _mapped(self, index: _Index, layout: RowLayout) -> Tensor:
        """The rows of the file in memory, which no other process may use meanwhile.

        Raises:
            RowsLostError: If another process uses them.
        """
        path = self._rows_file(index)
        words = torch.from_file(str(path), shared=True, size=index.capacity * layout.words, dtype=WORD)
        # After torch has closed the file: that would end the lock.
        self._file = path.open("r+b")
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._release()
            raise RowsLostError("are still used by another process") from error
        rows = words.view(index.capacity, layout.words)
        self._rows = rows.view(torch.uint8).numpy().view(np.dtype((np.void, layout.stride)))[:, 0]
        return rows

    def _read_index(self, number: int) -> _Index:
        path = self._folder / f"{self._owner.prefix}{self._rank}-{number}.json"
        _check_owner(path)
        try:
            content = json.loads(path.read_text())
            marks = [Mark(**mark) for mark in content.pop("marks")]
            return _Index(**content, marks=marks)
        except FileNotFoundError as error:
            raise RowsLostError("are missing") from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RowsLostError("have an index that is damaged") from error

    def _check(self, index: _Index, layout: RowLayout, capacity: int) -> None:
        if index.format != FORMAT:
            raise RowsLostError("are of another version of redwood")
        if index.world != self._world:
            raise RowsLostError(f"are of a run of {index.world} workers, and this one has {self._world}")
        if (index.capacity, index.layout) != (capacity, _described(layout)):
            raise RowsLostError("are of another run, with other samples or another size")
        for path in (self._rows_file(index), *(self._segment_file(index, mark) for mark in index.marks)):
            _check_owner(path)
        try:
            size = self._rows_file(index).stat().st_size
        except OSError as error:
            raise RowsLostError("are missing") from error
        if size != capacity * layout.stride:
            raise RowsLostError("are cut short")

    def _release(self) -> None:
        """Close the files that this process has opened; they stay."""
        if self._segment is not None:
            self._segment.close()
        if self._file is not None:
            self._file.close()
        self._segment = self._file = self._rows = self._index = None


def _size(path: Path) -> int:
    """Bytes that a file takes, which another process may remove."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_blocks * 512
    return 0


def _check_owner(path: Path) -> None:
    """Refuse a file, or a link, that another user has put into a folder in which everybody may write.

    Raises:
        RowsLostError: If it is not this user's; a missing file is left to whoever opens it.
    """
    with contextlib.suppress(FileNotFoundError):
        if path.lstat().st_uid != os.geteuid():
            raise RowsLostError("have files of another user")


def _described(layout: RowLayout) -> str:
    return repr([(leaf.path, leaf.shape, str(leaf.dtype), leaf.offset) for leaf in layout.leaves])
