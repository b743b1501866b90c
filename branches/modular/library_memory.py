"""A module library in memory, as a part of checkpoints."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from torch import Tensor
from typing_extensions import override

from redwood.branches.modular.library_records import Kind
from redwood.core.state import State


class LibraryStore(Protocol):
    """The store of the records and tensors of a library: memory, or a folder (`LibraryFolder`)."""

    def contents(self, kind: Kind) -> list[State]:
        """The records of all modules or networks that are whole, in any order."""

    def content(self, kind: Kind, key: str) -> State | None:
        """One record; None if there is none."""

    def holds(self, kind: Kind, key: str) -> bool:
        """True if there is a record, whole or damaged."""

    def tensors(self, content: State) -> dict[str, Tensor]:
        """The tensors of a module; they may be changed."""

    def is_whole(self, content: State) -> bool:
        """Return whether the tensors of a module are those that were added; warn if not."""

    def add(self, kind: Kind, content: State, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Add a record and the tensors of a module; what is there already stays."""

    def replace(self, kind: Kind, content: State) -> None:
        """Write a changed record."""

    def remove(self, kind: Kind, key: str) -> None:
        """Remove a record and its tensors."""

    def locked(self) -> AbstractContextManager[None]:
        """Keep updates and removals apart."""

    def now(self) -> float:
        """The time of an addition."""


class LibraryMemory(LibraryStore):
    """Records and tensors of one process.

    Attributes:
        records: Record of each module and network, by kind and key.
        data: Tensors of each module, by its key; they are never changed.
    """

    def __init__(self, records: Mapping[Kind, Mapping[str, State]], data: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Start with copies of these."""
        self.records: dict[Kind, dict[str, State]] = {"modules": {}, "networks": {}}
        for kind, contents in records.items():
            self.records[kind].update(contents)
        self.data = {key: {name: tensor.clone() for name, tensor in module.items()} for key, module in data.items()}

    @override
    def contents(self, kind: Kind) -> list[State]:
        contents = list(self.records[kind].values())
        if kind == "modules":
            return contents
        return [content for content in contents if all(key in self.data for key in content["modules"])]

    @override
    def content(self, kind: Kind, key: str) -> State | None:
        return self.records[kind].get(key)

    @override
    def holds(self, kind: Kind, key: str) -> bool:
        return key in self.records[kind]

    @override
    def tensors(self, content: State) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.data[content["key"]].items()}

    @override
    def is_whole(self, content: State) -> bool:
        return True

    @override
    def add(self, kind: Kind, content: State, tensors: Mapping[str, Tensor] | None = None) -> None:
        if content["key"] in self.records[kind]:
            return
        self.records[kind][content["key"]] = content
        if tensors is not None:
            self.data[content["key"]] = dict(tensors)

    @override
    def replace(self, kind: Kind, content: State) -> None:
        self.records[kind][content["key"]] = content

    @override
    def remove(self, kind: Kind, key: str) -> None:
        del self.records[kind][key]
        self.data.pop(key, None)

    @override
    @contextmanager
    def locked(self) -> Iterator[None]:
        # Other processes do not see this library, so there is nobody to keep out.
        yield

    def now(self) -> float:
        """One more than the last entry has: the state of a repeated run is the same, whenever it runs."""
        return 1 + max(
            (content["created"] for contents in self.records.values() for content in contents.values()), default=-1.0
        )
