"""The records of the modules and networks in a library, and the keys that follow from their content."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from math import prod
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor

from redwood.core.errors import DataError, InvalidOptionError
from redwood.core.files import plain
from redwood.core.schema import ANYTHING, ListOf, MapOf, Number, Record, Spec, Text, check
from redwood.core.state import State

Kind: TypeAlias = Literal["modules", "networks"]

KINDS: tuple[Kind, ...] = ("modules", "networks")
ROLES = ("stem", "block", "head", "network")
UPDATABLE = ("notes", "validation", "cost", "statistics")
KEY_PATTERN = r"[0-9a-f]{32}"


@dataclass(frozen=True)
class ModuleRecord:
    """The record of a module.

    Attributes:
        key: Digest of its role, position, model and tensors.
        role: One of `ROLES`; `network` is a whole network as one module.
        position: Its place in the network, from 0.
        model: Name of the network it was cut from.
        shapes: Shape of each tensor.
        parent: Key of the module whose weights it started from, or None.
        task: Name of the task it was trained on, or an empty text.
        nbytes: Bytes of its tensors.
        created: Seconds since the epoch; in memory the number of entries before it, so that states are reproducible.
    """

    key: str
    role: str
    position: int
    model: str
    shapes: dict[str, list[int]]
    parent: str | None
    task: str
    nbytes: int
    created: float

    @property
    def parameters(self) -> int:
        """Entries of all tensors."""
        return sum(prod(shape) for shape in self.shapes.values())


@dataclass(frozen=True)
class NetworkRecord:
    """The record of a network: a path of modules that solves one task.

    Attributes:
        key: Digest of the entries that `ModuleLibrary.update` cannot change.
        modules: Keys of its modules, from input to output.
        model: Name of the network.
        inputs: `shape` of one sample, `dtype` as a text, and of integers `high`, the largest possible value.
        task: `name`, `classes` and number of `samples` of its task.
        parent: Key of the network it was made from, or None.
        reused: Number of modules that it took over from others.
        statistics: `mean` and `std` of its inputs, or of features of them; empty if not known.
        validation: Accuracy in 0..1 on validation samples, or None.
        cost: FLOPs of each use, such as training and search; empty if not known.
        notes: Free text, such as a licence.
        created: As for modules.
    """

    key: str
    modules: list[str]
    model: str
    inputs: dict[str, Any]
    task: dict[str, Any]
    parent: str | None
    reused: int
    statistics: dict[str, list[float]]
    validation: float | None
    cost: dict[str, float]
    notes: str
    created: float


AnyRecord = TypeVar("AnyRecord", ModuleRecord, NetworkRecord)


@dataclass(frozen=True)
class _OrNone(Spec):
    """A value that may be None."""

    spec: Spec

    def problem(self, value: object, where: str) -> str | None:
        """As for every specification."""
        return None if value is None else self.spec.problem(value, where)


_COUNT = Number(0, whole=True)
_KEY = Text(pattern=KEY_PATTERN)
SPECS: Mapping[Kind, Record] = {
    "modules": Record(
        {
            "key": _KEY,
            "role": Text(pattern="|".join(ROLES)),
            "position": _COUNT,
            "model": Text(),
            "shapes": MapOf(ListOf(_COUNT)),
            "parent": _OrNone(_KEY),
            "task": Text(empty=True),
            "nbytes": _COUNT,
            "created": Number(0),
        }
    ),
    "networks": Record(
        {
            "key": _KEY,
            "modules": ListOf(_KEY, least=1),
            "model": Text(),
            "inputs": Record({"shape": ListOf(_COUNT), "dtype": Text(), "high": Number(low=0)}, frozenset({"high"})),
            "task": Record({"name": Text(empty=True), "classes": ListOf(ANYTHING), "samples": _COUNT}),
            "parent": _OrNone(_KEY),
            "reused": _COUNT,
            "statistics": MapOf(ListOf(Number())),
            "validation": Number(0, 1, optional=True),
            "cost": MapOf(Number(0)),
            "notes": Text(empty=True),
            "created": Number(0),
        }
    ),
}


# The format of a library's files: the entries beside those of the records, and the marker.
FORMAT = 1
_VERSION = Number(whole=True)
MARKER_SPEC = Record({"format": _VERSION, "kind": Text(pattern="module library"), "id": Text()})
FILE_SPECS: Mapping[Kind, Record] = {
    "modules": Record({"format": _VERSION, "file_bytes": _COUNT, **SPECS["modules"].entries}),
    "networks": Record({"format": _VERSION, **SPECS["networks"].entries}),
}


def check_file(content: object, spec: Record, path: Path) -> None:
    """Raise `DataError` unless the content of a file is of this format and meets `spec`."""
    version = content.get("format") if isinstance(content, dict) else None
    if isinstance(version, int) and version != FORMAT:
        raise DataError(f"The file {path} is of format {version}, not {FORMAT}; use the redwood that wrote it.")
    check(content, spec, f"The file {path}", "put it back, or remove it")


def content_of(record: ModuleRecord | NetworkRecord, kind: Kind) -> State:
    """A record as plain values.

    Raises:
        InvalidOptionError: If one of them is out of range.
    """
    content: State = plain(asdict(record))
    problem = SPECS[kind].problem(content, "its content")
    if problem is None and kind == "networks" and content["reused"] > len(content["modules"]):
        problem = f"reused has to be at most the number of modules, {len(content['modules'])}"
    if problem is not None:
        problem = problem.replace("its content.", "")
        raise InvalidOptionError(f"A {kind[:-1]} cannot be put into a library: {problem}; correct this value.")
    return content


def record_of(content: State, cls: type[AnyRecord]) -> AnyRecord:
    """The record that `content_of` was made of, with copies of its values; content may hold more."""
    return cls(**{f.name: _copied(content[f.name]) for f in fields(cls)})


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_copied(entry) if isinstance(entry, dict | list) else entry for entry in value]
    return value


def module_key(tensors: Mapping[str, Tensor], role: str, position: int, model: str) -> str:
    """The digest of a module; tensors are contiguous and on the CPU. It does not depend on the form of any file."""
    names = sorted(tensors)
    layout = [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in names]
    digest = blake2b(_canonical([role, position, model, layout]), digest_size=16)
    for name in names:
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def network_key(content: State) -> str:
    """The digest of a network's content, without what can be updated."""
    fixed = {f.name for f in fields(NetworkRecord)} - {"key", "created", *UPDATABLE}
    return blake2b(_canonical({name: content[name] for name in fixed}), digest_size=16).hexdigest()


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode() + b"\0"


def lineage(records: Sequence[NetworkRecord]) -> list[tuple[NetworkRecord, int]]:
    """Return networks in the order of their tree: each with its depth, followed by its children, oldest first.

    A network whose parent is not among the records is a root, at depth 0.
    """
    keys = {record.key for record in records}
    children: dict[str | None, list[NetworkRecord]] = {}
    for record in sorted(records, key=lambda record: (record.created, record.key), reverse=True):
        children.setdefault(record.parent if record.parent in keys else None, []).append(record)
    waiting = [(record, 0) for record in children.get(None, [])]
    ordered = []
    while waiting:
        record, depth = waiting.pop()
        ordered.append((record, depth))
        waiting += [(child, depth + 1) for child in children.get(record.key, [])]
    return ordered
