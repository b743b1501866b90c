"""A library of modules and networks, in memory or in a folder that outlives a run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from redwood.branches.modular.library_files import LibraryFolder
from redwood.branches.modular.library_memory import LibraryMemory, LibraryStore
from redwood.branches.modular.library_records import (
    KINDS,
    UPDATABLE,
    AnyRecord,
    Kind,
    ModuleRecord,
    NetworkRecord,
    content_of,
    lineage,
    module_key,
    network_key,
    record_of,
)
from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.core.state import State

__all__ = ["ModuleLibrary", "ModuleRecord", "NetworkRecord", "lineage"]


class ModuleLibrary:
    """Modules (stem, blocks, head), and networks that are made of them.

    A key is a digest of content. An entry that is added twice, or again by a resumed run, is there once, with its first
    record. Tensors are loaded by `load` alone.

    Examples:
        >>> library = ModuleLibrary(None)
        >>> key = library.add_module({"weight": torch.ones(2, 3)}, role="head", position=0, model="mlp")
        >>> library.module(key).shapes
        {'weight': [2, 3]}
    """

    def __init__(self, folder: str | Path | None, *, create: bool = True) -> None:
        """Open a library.

        Args:
            folder: Its folder; None or an empty text: the library is in memory, and a part of checkpoints.
            create: Whether to make the library if the folder holds none.

        Raises:
            RedwoodError: If the folder cannot be used, or holds other files than a library's.
        """
        self._store: LibraryStore = LibraryFolder(Path(folder), create) if folder else LibraryMemory({}, {})

    def add_module(
        self,
        tensors: Mapping[str, Tensor],
        *,
        role: str,
        position: int,
        model: str,
        parent: str | None = None,
        task: str = "",
    ) -> str:
        """Add a copy of a module and return its key; for the arguments see `ModuleRecord`.

        Raises:
            RedwoodError: If a value is out of range, or the folder cannot be written.
        """
        copies = {
            name: tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()
        }
        record = ModuleRecord(
            key=module_key(copies, role, position, model),
            role=role,
            position=position,
            model=model,
            shapes={name: list(tensor.shape) for name, tensor in copies.items()},
            parent=parent,
            task=task,
            nbytes=sum(tensor.nbytes for tensor in copies.values()),
            created=self._store.now(),
        )
        self._store.add("modules", content_of(record, "modules"), copies)
        return record.key

    def add_network(
        self,
        modules: Sequence[str],
        *,
        model: str,
        inputs: Mapping[str, Any],
        task: Mapping[str, Any],
        parent: str | None = None,
        reused: int = 0,
        statistics: Mapping[str, Sequence[float]] | None = None,
        validation: float | None = None,
        cost: Mapping[str, float] | None = None,
        notes: str = "",
    ) -> str:
        """Add a network whose modules are in the library, and return its key; for the arguments see `NetworkRecord`.

        Raises:
            RedwoodError: If a module is missing, a value is out of range, or the folder cannot be written.
        """
        record = NetworkRecord(
            key="0" * 32,
            modules=list(modules),
            model=model,
            inputs=dict(inputs),
            task=dict(task),
            parent=parent,
            reused=reused,
            statistics={name: list(values) for name, values in (statistics or {}).items()},
            validation=validation,
            cost=dict(cost or {}),
            notes=notes,
            created=self._store.now(),
        )
        content = content_of(record, "networks")
        for key in record.modules:
            self.module(key)
        content["key"] = network_key(content)
        self._store.add("networks", content)
        return str(content["key"])

    def modules(self) -> list[ModuleRecord]:
        """All modules that are whole, the oldest first. A damaged or foreign file is left out, with one warning."""
        return _sorted(self._store.contents("modules"), ModuleRecord)

    def networks(self) -> list[NetworkRecord]:
        """All networks whose modules are there, the oldest first. Damaged ones are left out, with one warning each."""
        return _sorted(self._store.contents("networks"), NetworkRecord)

    def module(self, key: str) -> ModuleRecord:
        """The record of a module.

        Raises:
            RedwoodError: If there is no such module, or its files are damaged.
        """
        return record_of(self._content("modules", key), ModuleRecord)

    def network(self, key: str) -> NetworkRecord:
        """The record of a network.

        Raises:
            RedwoodError: If there is no such network, or its file is damaged.
        """
        return record_of(self._content("networks", key), NetworkRecord)

    def load(self, key: str) -> dict[str, Tensor]:
        """The tensors of a module by name, on the CPU; they may be changed.

        Raises:
            RedwoodError: If there is no such module, or the tensors are not those that were added.
        """
        return self._store.tensors(self._content("modules", key))

    def is_whole(self, network: NetworkRecord) -> bool:
        """Return whether the tensors of all modules of a network are those that were added; warn once if not.

        The tensors are read, and read again only if their files change.
        """
        contents = [self._store.content("modules", key) for key in network.modules]
        return all(content is not None and self._store.is_whole(content) for content in contents)

    def update(self, key: str, **changes: Any) -> None:
        """Change the record of a network: its notes, validation, cost or statistics.

        Raises:
            RedwoodError: If there is no such network, or a change is of another entry or out of range.
        """
        for name in changes:
            if name not in UPDATABLE:
                raise InvalidOptionError(f"{name} of a network cannot be updated; {', '.join(UPDATABLE)} can.")
        with self._store.locked():
            content = self._content("networks", key)
            record = replace(record_of(content, NetworkRecord), **changes)
            self._store.replace("networks", content | content_of(record, "networks"))

    def remove(self, key: str, *, force: bool = False) -> None:
        """Remove a module or a network. The modules of a removed network stay.

        Args:
            key: The module or network; it may be damaged.
            force: Remove a module although networks use it; these are not listed any more.

        Raises:
            RedwoodError: If there is no such entry, or a network uses the module.
        """
        with self._store.locked():
            kind = self._kind_of(key)
            users = [record for record in self.networks() if kind == "modules" and key in record.modules]
            if users and not force:
                raise RedwoodError(
                    f"The module {key} cannot be removed: {len(users)} network(s) use it, such as {users[0].key}; "
                    "remove these first, or pass force=True."
                )
            self._store.remove(kind, key)

    def state_dict(self) -> State:
        """Return the state for a checkpoint: the whole library if it is in memory, else the identity of the folder."""
        if isinstance(self._store, LibraryMemory):
            records: State = {kind: dict(contents) for kind, contents in self._store.records.items()}
            return records | {"tensors": dict(self._store.data)}
        assert isinstance(self._store, LibraryFolder)
        return {"folder": self._store.identity}

    def load_state_dict(self, state: State) -> None:
        """Continue from a state.

        Raises:
            RedwoodError: If it is of another library.
        """
        if isinstance(self._store, LibraryFolder):
            if state.get("folder") != self._store.identity:
                raise RedwoodError(
                    f"--library {self._store.path} is not the library that this run began with; put that one there."
                )
        elif "tensors" in state:
            self._store = LibraryMemory({kind: state[kind] for kind in KINDS}, state["tensors"])
        else:
            raise RedwoodError("This run began with a library in a folder; name it by --library.")

    def _content(self, kind: Kind, key: str) -> State:
        content = self._store.content(kind, key)
        if content is None:
            raise RedwoodError(f"The library holds no {kind[:-1]} {key}; check the key.")
        return content

    def _kind_of(self, key: str) -> Kind:
        for kind in KINDS:
            if self._store.holds(kind, key):
                return kind
        raise RedwoodError(f"The library holds no module and no network {key}; check the key.")


def _sorted(contents: Sequence[State], cls: type[AnyRecord]) -> list[AnyRecord]:
    records = [record_of(content, cls) for content in contents]
    return sorted(records, key=lambda record: (record.created, record.key))
