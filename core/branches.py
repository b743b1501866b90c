"""The entries that branches and packages add, by name, in tables that import no heavy library.

A branch is a protocol or a family of methods that stands on the trunk. Its table is an object `BRANCH`: that of
`branches/NAME/table.py` for redwood's own, and an entry point of the group `redwood.branches` for an installed package.
"""

import functools
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, NamedTuple

from redwood.core.errors import RedwoodError

GROUP = "redwood.branches"
OF_SETTINGS, OF_METHODS, OF_COMMANDS = "redwood.settings", "redwood.methods", "redwood.commands"


class MethodEntry(NamedTuple):
    """One method of a table.

    Attributes:
        reference: The class, as `module:Name`.
        target: Key of the most general setting that the method applies to; `module:Name` of a setting without a key.
        summary: What the method does, with its source.
        requires: Free parameters that a setting must not pin; see `redwood.methods.base.Method`.
    """

    reference: str
    target: str
    summary: str
    requires: frozenset[str] = frozenset()

    @property
    def family(self) -> str:
        """The folder of the method inside `methods/` or `branches/`."""
        package, *folders = self.reference.partition(":")[0].split(".")
        return folders[1] if package == "redwood" else package


class Command(NamedTuple):
    """A word of the command line.

    Attributes:
        reference: A dataclass, as `module:Name`. Its fields are the options, and those without a default come before
            them. A call of an object runs the command.
        follows: The arguments after the word, beside options.
        does: What the command does, in one line.
        reads_data: Whether `--dataset` and `--data_dir` name data as those of a run: absent data is told at once.
    """

    reference: str
    follows: str
    does: str
    reads_data: bool = False


@dataclass(frozen=True)
class Branch:
    """The entries that a branch adds. Tests compare those of redwood's own branches with their classes.

    Attributes:
        settings: Settings by key, as `module:Name`.
        methods: Methods by key.
        commands: Commands by the word.
        further: Further names by group of entry points, such as parts: `{"redwood.streams": {"drawn": "module:Name"}}`.
    """

    settings: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, MethodEntry] = field(default_factory=dict)
    commands: Mapping[str, Command] = field(default_factory=dict)
    further: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise `TypeError` for a method or a command that is no entry."""
        for kind, table in ((MethodEntry, self.methods), (Command, self.commands)):
            for key, entry in table.items():
                if not isinstance(entry, kind):
                    raise TypeError(f"{key} has to be a {kind.__name__}, not {entry!r}")

    def names(self, group: str) -> Mapping[str, str]:
        """Return the entries of a group of entry points, by name, as `module:Name`."""
        if group in (OF_METHODS, OF_COMMANDS):
            table = self.methods if group == OF_METHODS else self.commands
            return {key: entry.reference for key, entry in table.items()}
        return self.settings if group == OF_SETTINGS else self.further.get(group, {})


@functools.cache
def own_branches() -> dict[str, Branch]:
    """Redwood's own branches, by the name of their folder."""
    package = importlib.import_module(GROUP)
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg)
    return {name: importlib.import_module(f"{GROUP}.{name}.table").BRANCH for name in names}


@functools.cache  # reading them takes 25 ms
def _all_entry_points() -> Any:
    return metadata.entry_points()


@functools.cache  # a selection walks through all of them, and a command asks for thousands
def entry_points(group: str) -> tuple[metadata.EntryPoint, ...]:
    """The entry points of all installed packages in a group, as they were when one was first asked for."""
    return tuple(_all_entry_points().select(group=group))


def forget_entry_points() -> None:
    """Read the entry points anew when they are asked for again: a package was installed in the meantime."""
    _all_entry_points.cache_clear()
    entry_points.cache_clear()


def installed_branches() -> dict[str, Branch]:
    """The branches of other packages, by the name of their entry point.

    Raises:
        RedwoodError: If an entry point cannot be loaded, or is no `Branch`.
    """
    found = {}
    for entry in entry_points(GROUP):
        try:
            branch = entry.load()
        except Exception as error:
            raise RedwoodError(
                f"The branch {entry.name} of an installed package cannot be loaded from {entry.value} "
                f"({type(error).__name__}: {error}); repair or uninstall the package."
            ) from error
        if not isinstance(branch, Branch):
            raise RedwoodError(
                f"The branch {entry.name} of an installed package is no redwood.core.branches.Branch, but a "
                f"{type(branch).__name__}; let {entry.value} be one."
            )
        if entry.name in found:
            raise RedwoodError(f"Two installed packages have a branch {entry.name}; rename the entry point of one.")
        found[entry.name] = branch
    return found


def branch_commands() -> dict[str, Command]:
    """Return the commands of all branches, by the word.

    Raises:
        RedwoodError: If two branches have one word.
    """
    found: dict[str, Command] = {}
    for name, branch in (*own_branches().items(), *installed_branches().items()):
        for word, command in branch.commands.items():
            if found.setdefault(word, command) != command:
                raise RedwoodError(f"The branch {name} has a command {word}, as another one has; rename it.")
    return found


def entries(group: str) -> tuple[tuple[str, str], ...]:
    """Name and `module:Name` of all that branches and the entry points of installed packages add to a group."""
    branches = [*own_branches().values(), *installed_branches().values()]
    return tuple(_all_of(branches, group))


def _all_of(branches: list[Branch], group: str) -> Iterator[tuple[str, str]]:
    for branch in branches:
        yield from branch.names(group).items()
    for entry in entry_points(group):
        yield entry.name, entry.value
