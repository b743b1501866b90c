"""Write files atomically: each is written beside its place under a temporary name, and then moved there."""

import errno
import json
import math
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from redwood.core.errors import FULL, DataError, InvalidOptionError, RedwoodError, StorageError

MOST_BYTES = 2**30  # of a file of results, records or events
MOST_TEXT_BYTES = 2**26  # of a file of options, tasks or concepts, which is read as a whole


def temporary_path(path: Path) -> Path:
    """A temporary name of a file while it is written; `remove_temporaries` finds files by such names.

    Each call returns another one: processes of several machines may write to one folder.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")


def refuse_foreign(path: Path, mark: re.Pattern[bytes], option: str) -> None:
    """Refuse to write over a file that the same command did not write: a user's file would be lost.

    Each command that writes to a path of the user's choice asks before its work; `replacing` asks again after it.

    Args:
        path: The file to be written.
        mark: Found near the start of each file that this command writes, and of no other.
        option: The option that names the file.

    Raises:
        InvalidOptionError: If there is anything else at this path.
    """
    if not os.path.lexists(path):
        return
    if path.is_dir():
        raise InvalidOptionError(f"{option} {path} is a folder; name a file.")
    try:
        # Opening a pipe would wait for its writer.
        own = path.is_file() and mark.search(_head(path)) is not None
    except OSError as error:
        raise InvalidOptionError(f"{option} {path} cannot be read ({error.strerror}); name another file.") from error
    if not own:
        raise InvalidOptionError(
            f"{option} {path} was not written by this command, and would be lost; name another file, or remove it."
        )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


@contextmanager
def replacing(path: Path, own: tuple[re.Pattern[bytes], str] | None = None) -> Iterator[Path]:
    """Yield a temporary path to write to. The file replaces `path` at the end, or is removed after an error.

    Args:
        path: The file.
        own: Mark and option, see `refuse_foreign`, if the path is of the user's choice.

    Raises:
        InvalidOptionError: If another program has written `path` meanwhile.
        StorageError: If there is no room for the file; `path` is left as it is then.
    """
    temporary = temporary_path(path)
    try:
        with told_if_full(path):
            yield temporary
        if own is not None:
            refuse_foreign(path, *own)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def told_if_full(path: Path) -> Iterator[None]:
    """While `path` is written inside, turn the errors of a full disk or a lost folder into a `StorageError`."""
    try:
        yield
    except OSError as error:
        gone = isinstance(error, FileNotFoundError) and not path.parent.is_dir()
        if not gone and error.errno not in FULL:
            raise
        why = "its folder is gone" if gone else error.strerror
        remedy = "start again" if gone else "make room there, and go on with resume, or start again"
        told = StorageError(f"{path} cannot be written ({why}); {remedy}.")
        told.strerror = why  # for those who tell it in a sentence of their own
        raise told from error


def write_atomically(
    path: Path, content: bytes, *, durable: bool = False, own: tuple[re.Pattern[bytes], str] | None = None
) -> None:
    """Write a file so that a reader finds the old or the new content, never a part.

    Args:
        path: The file.
        content: Its new bytes.
        durable: Whether they have to be on the disk before the file appears, in case the power is cut.
        own: Mark and option, see `refuse_foreign`, if the path is of the user's choice.
    """
    with replacing(path, own) as temporary, temporary.open("wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def link_or_copy(source: Path, path: Path) -> None:
    """Give a file a second name, `path`, so that a reader finds the old file or the new one, never a part.

    Both names share the bytes, where the file system has hard links; elsewhere the file is copied.
    """
    with replacing(path) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())


def remove_temporaries(folder: Path, older_than_s: float = 0.0) -> None:
    """Remove the temporary files that a killed process left in a folder.

    Args:
        folder: The folder.
        older_than_s: Seconds since a file was last written to. At 0, no other process may write to the folder.
    """
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            if not older_than_s or time.time() - path.stat().st_mtime > older_than_s:
                path.unlink()


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write `content` atomically, with one line per key.

    Args:
        path: File to write; its folder is made if missing.
        content: The entries by key.

    Raises:
        DataError: If a number is not finite, or a value is no plain one; nothing is written then.
    """
    try:
        # `indent` would give each number of a matrix a line of its own.
        lines = [f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in content.items()]
    except ValueError as error:
        raise DataError(f"What is meant for {path} holds NaN or infinity ({error}), which JSON cannot hold.") from error
    except TypeError as error:
        raise DataError(
            f"What is meant for {path} is no plain value ({error}); use numbers, texts, lists and dictionaries."
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")
        file.flush()
        os.fsync(file.fileno())


def write_new_json(path: Path, content: Mapping[str, object]) -> None:
    """Write as `write_json`, unless the file is there by then: of several processes at once, the first one wins."""
    complete = temporary_path(path)
    try:
        write_json(complete, content)
        os.link(complete, path)
    except FileExistsError:
        pass
    except OSError:
        if not complete.exists():
            raise
        if not path.exists():  # this file system has no links: of two at the same moment, the last one wins
            os.replace(complete, path)
    finally:
        complete.unlink(missing_ok=True)


def refuse_unreadable(path: Path) -> None:
    """Refuse a path that is no file, such as a pipe, and a file larger than any of its kind, before it is read.

    Raises:
        DataError: If it is there and is such a thing.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise DataError(f"{path} is no file, where one is read; remove it.")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise DataError(f"The file {path} has {size:,} bytes, more than any that redwood writes; remove it.")


def check_regular(path: Path, most_bytes: int | None = None) -> None:
    """Check a file that a user has named before it is opened: a pipe would be waited for, and a device has no end.

    Args:
        path: The file.
        most_bytes: How large it may be; None: as large as it is.

    Raises:
        OSError: If it is missing, no regular file, or larger; `strerror` says why.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    if most_bytes is not None and status.st_size > most_bytes:
        sizes = f"it has {status.st_size:,} bytes, and {most_bytes:,} are the most"
        raise OSError(errno.EFBIG, sizes, str(path))


def read_bytes(path: Path, most_bytes: int | None = None) -> bytes:
    """The bytes of a file that a user has named; arguments and errors are those of `check_regular`."""
    check_regular(path, most_bytes)
    return path.read_bytes()


def read_text(path: Path) -> str:
    """The text of a file that a user has named, UTF-8; errors are those of `check_regular`, and `UnicodeError`."""
    return read_bytes(path, MOST_TEXT_BYTES).decode("utf-8")


def refuse_folders(folder: Path, patterns: Iterable[str]) -> None:
    """Refuse folders that have the names of files to be written, before the work that they would hold.

    Raises:
        RedwoodError: If there is one.
    """
    for path in (path for pattern in patterns for path in folder.glob(pattern)):
        if path.is_dir():
            raise RedwoodError(f"{path} is a folder, where a file of that name is written; remove it.")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        DataError: If the file is missing, or is no JSON.
    """
    refuse_unreadable(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}; check the path.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"The file {path} is damaged or no JSON ({error}); write it again.") from error


def plain(value: object) -> Any:
    """Return `value` as JSON can hold it: tuples become lists, and paths and unknown objects become their text."""
    match value:
        case dict():
            return {str(key): plain(entry) for key, entry in value.items()}
        case list() | tuple():
            return [plain(entry) for entry in value]
        case np.generic():
            return plain(value.item())
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case _:
            return str(value)
