"""Files that appear whole: each is written beside its place under a known name, and then moved there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def temporary_path(path: Path) -> Path:
    """Where a file is written before it takes its place; `remove_temporaries` knows it by this name."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to; the file takes the place of `path` at the end, or is removed after an error."""
    temporary = temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new content, never a part."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def remove_temporaries(folder: Path) -> None:
    """Remove the files that a killed process was writing in a folder; nobody else may be writing there."""
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            path.unlink()
