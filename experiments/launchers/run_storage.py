"""Keep run folders at a URL, such as a bucket of S3, for machines that share no file system.

A file is replaced as a whole, in the run folder and at the URL. So a run can go on from what a lost machine has copied:
the checkpoint between two phases is copied first, and results last.
"""

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from threading import Event, Thread
from typing import Any

from redwood.core.errors import RedwoodError, reason_of
from redwood.core.extras import load_extra
from redwood.core.files import read_text, temporary_path, write_atomically
from redwood.engine.folder_lock import LOCK_FILE
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.launchers.jobs import Job

_EVERY_S = 10.0
_NAME = "storage.txt"  # beside the folders of the runs: the URL where they are kept
_FIRST, _LAST = "boundary.pt", "results.json"


class RunStorage:
    """The folders of some runs at a URL of fsspec (`s3://`, `gs://`, `file://`, ...), one below it for each run."""

    def __init__(self, url: str) -> None:
        """Open nothing yet.

        Args:
            url: Where the folders are.
        """
        self.url = url

    @classmethod
    def of(cls, folder: Path, url: str) -> "RunStorage | None":
        """The place below `url` for the runs in `folder`: the one that `storage.txt` names, or a new one.

        Args:
            folder: The folder around those of the runs.
            url: What the user gave. Empty: the place that `storage.txt` names; without one, None.

        Raises:
            UsageError: If the runs are kept elsewhere.
        """
        file, base = folder / _NAME, url.rstrip("/")
        if not url and not file.exists():
            return None
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(file, f"{base}/{folder.resolve().name}-{uuid.uuid4().hex[:8]}".encode())
        own = read_text(file).strip()
        if url and own.rpartition("/")[0] != base:
            raise UsageError(
                f"--ray storage={url} is not where the runs in {folder} are kept ({own}); give that place."
            )
        return cls(own)

    def check(self) -> None:
        """Raise `RedwoodError` unless the place can be written and read."""
        with self._told("written"):
            system, root = self._open()
            system.makedirs(root, exist_ok=True)
            system.pipe_file(f"{root}/.check", b"")
            system.rm_file(f"{root}/.check")

    def started(self) -> set[str]:
        """The names of the runs that a machine has begun."""
        with self._told("read"), suppress(FileNotFoundError):
            system, root = self._open()
            system.invalidate_cache()
            return {path.rstrip("/").rpartition("/")[2] for path in system.ls(root, detail=False)}
        return set()

    def fetch(self, folder: Path) -> None:
        """Copy the files of a run to its folder, as far as it has been kept."""
        with self._told("read"):
            system, root = self._open()
            system.invalidate_cache()
            kept = f"{root}/{folder.name}"
            for path in sorted((path for path in system.find(kept) if not path.endswith(".tmp")), key=_turn):
                target = folder / path.partition(f"{kept}/")[2]
                target.parent.mkdir(parents=True, exist_ok=True)
                unfinished = temporary_path(target)
                system.get_file(path, str(unfinished))
                unfinished.replace(target)

    @contextmanager
    def kept(self, job: Job) -> Iterator[Job]:
        """The job in a folder of this machine, which is kept every few seconds and at the end, and then removed."""
        around = Path(mkdtemp(prefix="redwood-"))
        here = replace(job, folder=around / job.folder.name, group=job.group or job.folder.resolve().parent.name)
        here.folder.mkdir()
        over = Event()
        try:
            self.fetch(here.folder)
            upload = self._uploads(here.folder)
            here.forget_failure()
            here.log.touch()
            with self._told("written"):
                upload()
            thread = Thread(target=_repeat, args=(upload, over), daemon=True)
            thread.start()
            try:
                yield here
            finally:
                over.set()
                thread.join()
                with self._told("written"):
                    upload()
        finally:
            shutil.rmtree(around, ignore_errors=True)

    def _uploads(self, folder: Path) -> Callable[[], None]:
        """A function that copies what has changed since now or its last call, and removes what is gone."""
        system, root = self._open()
        done = _files(folder)

        def upload() -> None:
            found = _files(folder)
            for name in sorted(found, key=_turn):
                if done.get(name) != found[name]:
                    place = f"{root}/{folder.name}/{name}"
                    system.makedirs(place.rpartition("/")[0], exist_ok=True)
                    with suppress(FileNotFoundError):  # the run has just removed it
                        _put(system, folder / name, place)
                        done[name] = found[name]
            for name in done.keys() - found.keys():
                with suppress(FileNotFoundError):
                    system.rm_file(f"{root}/{folder.name}/{name}")
                del done[name]

        return upload

    def _open(self) -> tuple[Any, str]:
        system, root = load_extra("fsspec.core", "ray", "--ray storage").url_to_fs(self.url)
        return system, root.rstrip("/")

    @contextmanager
    def _told(self, how: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise RedwoodError(
                f"--ray storage={self.url} cannot be {how} ({reason_of(error)}); check the URL and your rights, and "
                "install the package for it, such as s3fs for s3://."
            ) from error


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """When each file of a run was changed, and its size; without locks and unfinished files."""
    found = {}
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and not path.name.startswith((".", LOCK_FILE)):
                stat = path.stat()
                found[path.relative_to(folder).as_posix()] = (stat.st_mtime_ns, stat.st_size)
    return found


def _put(system: Any, path: Path, place: str) -> None:
    """Copy a file as a whole: a bucket shows none that is not complete, but a folder does."""
    if "file" not in system.protocol:
        system.put_file(str(path), place)
        return
    unfinished = temporary_path(Path(place))
    system.put_file(str(path), str(unfinished))
    unfinished.replace(place)


def _turn(name: str) -> tuple[bool, bool]:
    """Sorts files: a checkpoint inside a phase needs the one before the phase, and results mean that all is there."""
    file = name.rpartition("/")[2]
    return file == _LAST, file != _FIRST


def _repeat(upload: Callable[[], None], over: Event) -> None:
    while not over.wait(_EVERY_S):
        with suppress(Exception):  # the next one may succeed, and the last one tells
            upload()
