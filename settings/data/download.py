"""Download into a temporary folder, so that a failed download is never taken for data later."""

import contextlib
import io
import os
import socket
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

_TIMEOUT_S = 15.0  # a server that stays silent for so long counts as unreachable


@contextlib.contextmanager
def staging(data_dir: Path) -> Iterator[Path]:
    """Yield an empty folder whose contents move into `data_dir` if the block succeeds and vanish if it fails.

    Several processes may do so at the same time: each has its own folder, and the files of the last one stay. Output
    of the block is dropped, its connections time out, and no archive of tar writes outside of the folder.
    """
    missing = [folder for folder in (data_dir, *data_dir.parents) if not folder.exists()]
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        # Inside data_dir, hence on its file system, where a move is one atomic rename.
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=".download-") as folder:
            with quiet(), _impatient(), _contained():
                yield Path(folder)
            for entry in Path(folder).iterdir():
                _move(entry, data_dir / entry.name)
    except BaseException:
        for folder_made in missing:
            with contextlib.suppress(OSError):
                folder_made.rmdir()
        raise


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop the output of other libraries, including progress bars."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def reason(error: BaseException) -> str:
    """Type and last line of an error, for use inside a sentence."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1].strip('<>. ')}" if lines else type(error).__name__


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def _contained() -> Iterator[None]:
    """Within the block, an archive of tar is unpacked as data: no absolute paths, no `..`, no links to the outside."""
    if not hasattr(tarfile, "data_filter"):  # Python before 3.11.4
        yield
        return
    before = tarfile.TarFile.extraction_filter
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    finally:
        tarfile.TarFile.extraction_filter = before


def _move(source: Path, target: Path) -> None:
    if source.is_dir() and target.is_dir():
        for entry in source.iterdir():
            _move(entry, target / entry.name)
    else:
        os.replace(source, target)
