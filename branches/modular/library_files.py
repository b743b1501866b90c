"""The folder of a module library, which several processes and machines may write to at once."""

import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from redwood.branches.modular.library_records import (
    FILE_SPECS,
    FORMAT,
    KEY_PATTERN,
    KINDS,
    MARKER_SPEC,
    Kind,
    check_file,
    module_key,
    network_key,
)
from redwood.core.errors import DataError, RedwoodError, reason_of
from redwood.core.files import (
    read_bytes,
    read_json,
    remove_temporaries,
    temporary_path,
    write_atomically,
    write_json,
    write_new_json,
)
from redwood.core.state import State
from redwood.core.user_warnings import warn

MARKER, LOCK_FILE = "library.json", ".lock"
PATIENCE_S = 60.0
# Older files of a writer that never finished were left by a killed process.
ABANDONED_AFTER_S = 3600.0
# An entry that looks damaged may be just added or removed by another process, so it is read again.
_LOOKS, _BETWEEN_LOOKS_S = 3, 0.01

_DATA = ".safetensors"
_warned: set[str] = set()


class LibraryFolder:
    """Files of records and tensors; each appears as a whole.

    `library.json` marks the folder. `networks/KEY.json` and `modules/KEY.json` are the records; the tensors of a module
    are in `modules/KEY.safetensors`. A record is written after the tensors and removed before them, so an entry with a
    record is whole. Adding needs no lock: a key names one content, so two writers of one file write the same.

    Attributes:
        path: The folder.
        identity: Tells this library from all others, wherever the folder is moved to.
    """

    def __init__(self, path: Path, create: bool) -> None:
        """Open a library.

        Args:
            path: The folder.
            create: Whether to make the library if there is none; its parent folder has to be there. Also removes what
                killed processes left behind more than an hour ago.

        Raises:
            RedwoodError: If the folder cannot be used, or holds other files than a library's.
        """
        self.path = path
        self._seen: dict[tuple[Kind, str], tuple[tuple[int, ...], State]] = {}
        self._whole: dict[str, tuple[int, ...]] = {}
        with self._told():
            if create:
                self._create()
            self.identity = self._read_marker()
            if create:
                self._clean()

    def contents(self, kind: Kind) -> list[State]:
        """Return the content of all whole modules or networks. Warn once of each damaged or foreign file."""
        with self._told():
            found = [content for key in self._keys(kind) if (content := self._content_or_warning(kind, key))]
            if kind == "modules":
                return found
            # Modules are added before the network that uses them, so those of the networks found above are there now.
            modules = {content["key"] for content in self.contents("modules")}
            return [content for content in found if self._has_modules(content, modules)]

    def content(self, kind: Kind, key: str) -> State | None:
        """Return the content of a module or network; None if there is none.

        Raises:
            RedwoodError: If its files are damaged.
        """
        with self._told():
            return self._read(kind, key) if _is_key(key) else None

    def holds(self, kind: Kind, key: str) -> bool:
        """True if there is a record, whole or damaged."""
        return _is_key(key) and self._path(kind, key).exists()

    def tensors(self, content: State) -> dict[str, Tensor]:
        """The tensors of a module.

        Raises:
            RedwoodError: If they are not those that were added.
        """
        key, path = content["key"], self._path("modules", content["key"]).with_suffix(_DATA)
        try:
            tensors = load(read_bytes(path))  # a file that is mapped would end the process if another one cut it short
        except (OSError, SafetensorError, KeyError) as error:
            raise DataError(f"The file {path} cannot be read ({reason_of(error)}); {_remedy(key)}.") from error
        shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        digest = module_key(tensors, content["role"], content["position"], content["model"])
        if digest != key or shapes != content["shapes"]:
            raise DataError(f"The file {path} is not what was added (its digest differs); {_remedy(key)}.")
        return tensors

    def is_whole(self, content: State) -> bool:
        """Return whether the tensors of a module are those that were added. Read them again only if the file changes.

        Warn once of a damaged module.
        """
        path = self._path("modules", content["key"]).with_suffix(_DATA)
        try:
            stamp = _stamp(path.stat())
            if self._whole.get(content["key"]) != stamp:
                self.tensors(content)
                self._whole[content["key"]] = stamp
        except DataError as error:
            _warn_once(f"{error} Until then, networks of this module are left out.")
            return False
        except OSError:  # another process has removed it
            return False
        return True

    def add(self, kind: Kind, content: State, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Add a module or network; an entry that is there already and not damaged stays as it is."""
        with self._told():
            if self._is_intact(kind, content["key"]):
                return
            if tensors is None:
                self._publish(kind, {"format": FORMAT, **content})
                return
            data_path, data = self._path(kind, content["key"]).with_suffix(_DATA), _serialise(tensors)
            while True:
                write_atomically(data_path, data, durable=True)
                self._publish(kind, {"format": FORMAT, **content, "file_bytes": len(data)})
                if data_path.exists():  # else another process has just removed them
                    return

    def replace(self, kind: Kind, content: State) -> None:
        """Write a changed record. Only the holder of the lock may do so."""
        with self._told():
            write_json(self._path(kind, content["key"]), content)

    def remove(self, kind: Kind, key: str) -> None:
        """Remove a module or network, whole or damaged."""
        with self._told():
            path = self._path(kind, key)
            path.unlink(missing_ok=True)
            if kind == "modules":
                _remove_data(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the library, which keeps updates and removals apart.

        Raises:
            RedwoodError: If another process holds it for a minute.
        """
        lock = FileLock(self.path / LOCK_FILE, timeout=PATIENCE_S)
        with self._told():
            try:
                lock.acquire()
            except Timeout as error:
                raise RedwoodError(
                    f"Another process changes --library {self.path} for more than {PATIENCE_S:.0f} s; "
                    "wait until it ends, or end it."
                ) from error
        try:
            yield
        finally:
            lock.release()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def _path(self, kind: Kind, key: str) -> Path:
        return self.path / kind / f"{key}.json"

    def _create(self) -> None:
        if not self.path.exists() and not self.path.parent.exists():
            raise RedwoodError(f"--library {self.path} cannot be made: there is no {self.path.parent}; make it first.")
        if self.path.exists() and not self.path.is_dir():
            raise RedwoodError(f"--library {self.path} is a file; name a folder.")
        self.path.mkdir(exist_ok=True)
        marker = self.path / MARKER
        # The marker is written before anything else, so a folder without it that holds files is no library.
        if any(not path.name.startswith(".") for path in self.path.iterdir()) and not marker.exists():
            raise RedwoodError(f"--library {self.path} holds other files than a library's; choose a new folder.")
        if not marker.exists():
            write_new_json(marker, {"format": FORMAT, "kind": "module library", "id": uuid.uuid4().hex})
        for folder in (self.path / kind for kind in KINDS):
            folder.mkdir(exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise RedwoodError(f"--library {self.path} cannot be written; make it writable, or copy it.")

    def _read_marker(self) -> str:
        marker = self.path / MARKER
        if not marker.is_file():
            raise RedwoodError(f"--library {self.path} is no module library (no {MARKER} in it); check the path.")
        content = read_json(marker)
        check_file(content, MARKER_SPEC, marker)
        return str(content["id"])

    def _clean(self) -> None:
        for folder in (self.path, *(self.path / kind for kind in KINDS)):
            remove_temporaries(folder, older_than_s=ABANDONED_AFTER_S)
        for data in (self.path / "modules").glob(f"*{_DATA}"):
            record = data.with_suffix(".json")
            with suppress(FileNotFoundError):
                if not record.exists() and time.time() - data.stat().st_mtime > ABANDONED_AFTER_S:
                    _remove_data(record)

    def _keys(self, kind: Kind) -> list[str]:
        """Keys of all records that have a file."""
        keys = []
        with os.scandir(self.path / kind) as entries:
            for entry in entries:
                key, _, suffix = entry.name.partition(".")
                if not (_is_key(key) and suffix in ("json", "safetensors") and entry.is_file()):
                    if not entry.name.startswith("."):
                        _warn_once(f"{entry.path} is no file of a module library and is left out; remove it.")
                elif suffix == "json":
                    keys.append(key)
        return keys

    def _content_or_warning(self, kind: Kind, key: str) -> State | None:
        try:
            return self._read(kind, key)
        except DataError as error:
            _warn_once(str(error))
            return None

    def _read(self, kind: Kind, key: str) -> State | None:
        """A whole record; None if there is no file or another process is removing it.

        Raises:
            DataError: If the record, or the size of its tensors, is wrong.
        """
        path = self._path(kind, key)
        for look in range(1, _LOOKS + 1):
            try:
                return self._checked(kind, key, path)
            except FileNotFoundError:
                break
            except DataError:
                if look == _LOOKS and path.exists():
                    raise
            time.sleep(_BETWEEN_LOOKS_S)
        return None

    def _checked(self, kind: Kind, key: str, path: Path) -> State:
        content = self._record(kind, key, path)
        if kind == "modules":
            data, size = path.with_suffix(_DATA), 0
            with suppress(FileNotFoundError):
                size = data.stat().st_size
            if size != content["file_bytes"]:
                raise DataError(f"The file {data} has {size} bytes, not {content['file_bytes']}; {_remedy(key)}.")
        return content

    def _record(self, kind: Kind, key: str, path: Path) -> State:
        """The content of a record's file, which is read again only if it has changed."""
        stamp = _stamp(path.stat())
        if self._seen.get((kind, key), (None,))[0] != stamp:
            content = read_json(path)
            check_file(content, FILE_SPECS[kind], path)
            if content["key"] != key or (kind == "networks" and network_key(content) != key):
                raise DataError(f"The file {path} is not what was added (its digest differs); {_remedy(key)}.")
            self._seen[kind, key] = (stamp, content)
        return self._seen[kind, key][1]

    def _has_modules(self, network: State, modules: set[str]) -> bool:
        lacking = [key for key in network["modules"] if key not in modules]
        path = self._path("networks", network["key"])
        if lacking and path.exists():  # else it was removed meanwhile, perhaps with its modules
            _warn_once(
                f"The network {path} is left out: its module {lacking[0]} is missing or damaged; add it again, "
                "or remove the network."
            )
        return not lacking

    def _is_intact(self, kind: Kind, key: str) -> bool:
        try:
            content = self._read(kind, key)
            if content is not None and kind == "modules":
                self.tensors(content)
        except DataError:
            return False
        return content is not None

    def _publish(self, kind: Kind, content: State) -> None:
        """Write a new record, or one in the place of a damaged one; a whole one stays."""
        path = self._path(kind, content["key"])
        try:
            if self._read(kind, content["key"]) is None:
                write_new_json(path, content)
        except DataError:
            write_json(path, content)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn errors of the file system into one sentence."""
        try:
            yield
        except RedwoodError:
            raise
        except OSError as error:
            reason = error.strerror or reason_of(error)
            raise RedwoodError(
                f"--library {self.path} cannot be used ({reason}); make it readable and writable, with room on its "
                "disk, or name another."
            ) from error


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    """Changes with a file."""
    return status.st_ino, status.st_mtime_ns, status.st_size


def _is_key(key: str) -> bool:
    return re.fullmatch(KEY_PATTERN, key) is not None


def _remedy(key: str) -> str:
    return f"add the module again, or remove {key}"


def _serialise(tensors: Mapping[str, Tensor]) -> bytes:
    try:
        return save(dict(tensors))
    except (KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise RedwoodError(
            f"These tensors cannot be saved by safetensors ({reason_of(error)}); convert them."
        ) from error


def _remove_data(record: Path) -> None:
    """Remove the tensors of a module that has no record; if a process adds it at this moment, they stay.

    That process looks for the tensors once its record is there; this one looks for the record once they are gone.
    """
    data = record.with_suffix(_DATA)
    aside = temporary_path(data)
    with suppress(FileNotFoundError):
        os.replace(data, aside)
        if record.exists() and not data.exists():
            os.replace(aside, data)
        aside.unlink(missing_ok=True)


def _warn_once(sentence: str) -> None:
    """Warn, unless this process has done so."""
    if sentence not in _warned:
        _warned.add(sentence)
        warn(sentence)
