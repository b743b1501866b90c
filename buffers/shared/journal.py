"""The undo journal of rows: what overwritten rows held before, so that they can be put back."""

import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import numpy as np

from redwood.buffers.randomness import Array
from redwood.core.errors import StorageError

# Bytes of the number of records, which stands before them.
_HEAD = 8
# Bytes of records that are read at a time.
_CHUNK = 2**26


class JournalError(Exception):
    """A journal cannot be read; the message says why."""


class JournalSegment:
    """A file of records: a slot, and the row that it held.

    A record counts once the number of records at the start of the file includes it. That number is written after the
    record, and the row is overwritten after that number. So whenever the process is killed, each row that may have been
    overwritten has a record.
    """

    def __init__(self, path: Path, stride: int, *, fresh: bool) -> None:
        """Open a segment for records of rows of `stride` bytes; `fresh` makes an empty one.

        Raises:
            JournalError: If it is missing, or shorter than it says.
            StorageError: If it cannot be made.
        """
        self.path = path
        self._record = np.dtype([("slot", "<i8"), ("row", np.void, stride)])
        self.n_records = 0
        try:
            self._opened = FileIO(path, "w+" if fresh else "r+", opener=for_this_user)
        except OSError as error:
            if fresh:
                raise self._full(error) from error
            raise JournalError("their journal is missing") from error
        self._file = self._opened.fileno()
        if fresh:
            self._commit(0)
        else:
            self._read_head()

    @staticmethod
    def size_of(n_records: int, stride: int) -> int:
        """Bytes of a segment of so many records of rows of `stride` bytes."""
        return _HEAD + n_records * (8 + stride)

    def _read_head(self) -> None:
        head = os.pread(self._file, _HEAD, 0)
        self.n_records = int.from_bytes(head, "little")
        if len(head) < _HEAD or os.fstat(self._file).st_size < self._end:
            self.close()
            raise JournalError("their journal is cut short")

    @property
    def _end(self) -> int:
        return _HEAD + self.n_records * self._record.itemsize

    def append(self, slots: Array, rows: Array) -> None:
        """Note rows (m,), as NumPy's `void`, before they are overwritten in their slots (m,), int64.

        Raises:
            StorageError: If there is no space left; the rows are noted in part, and must not be overwritten.
        """
        records = np.empty(len(slots), dtype=self._record)
        records["slot"], records["row"] = slots, rows
        self._write(records.view(np.uint8).data, self._end)
        self._commit(self.n_records + len(slots))

    def clear(self) -> None:
        """Forget all records."""
        self._commit(0)

    def newest_first(self) -> Iterator[tuple[Array, Array]]:
        """The slots (m,) and rows (m,) of records, from the last one to the first.

        Raises:
            JournalError: If they cannot be read.
        """
        size = self._record.itemsize
        step = max(1, _CHUNK // size)
        for end in range(self.n_records, 0, -step):
            start = max(0, end - step)
            content = os.pread(self._file, (end - start) * size, _HEAD + start * size)
            if len(content) < (end - start) * size:
                raise JournalError("their journal is cut short")
            records = np.frombuffer(content, dtype=self._record)[::-1]
            yield records["slot"], records["row"]

    def close(self) -> None:
        """Close the file, which stays."""
        self._opened.close()

    def _commit(self, n_records: int) -> None:
        self._write(memoryview(n_records.to_bytes(_HEAD, "little")), 0)
        self.n_records = n_records

    def _write(self, content: memoryview, offset: int) -> None:
        try:
            while content:
                written = os.pwrite(self._file, content, offset)
                content, offset = content[written:], offset + written
        except OSError as error:
            raise self._full(error) from error

    def _full(self, error: OSError) -> StorageError:
        return StorageError(
            f"The journal of the buffer in {self.path.parent} cannot be written ({error.strerror}); make the buffer "
            "smaller, enlarge that file system, choose another folder, or the tier host."
        )


def for_this_user(path: str, flags: int) -> int:
    """Open a file that no other user may read, as the `opener` of `open`."""
    return os.open(path, flags, 0o600)
