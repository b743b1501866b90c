"""Show the content of a module library: its networks as a tree, a line of totals, and a picture of the lineage."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from redwood.branches.modular.library import ModuleLibrary, ModuleRecord, NetworkRecord, lineage
from redwood.branches.modular.lineage import plot_lineage
from redwood.core.user_warnings import warn
from redwood.engine.terminal import NOT_DEFINED, Terminal, new_table, scaled

PICTURE = "lineage.png"
_MAX_DRAWN = 300  # networks that a picture of readable size has room for
_SHOWN_KEY = 8
_FILE_WIDTH = 160
_MAX_SHOWN_DEPTH = 6  # a branch that is deeper says its depth as a number


@dataclass
class Listing:
    """Print what is in the library of a folder, and draw its lineage there."""

    folder: Path  # folder of the library
    json: bool = False  # print the records as JSON instead of a table

    def __call__(self) -> None:
        """Print and draw it.

        Raises:
            RedwoodError: If the folder holds no library.
        """
        library = ModuleLibrary(self.folder, create=False)
        networks, modules = library.networks(), library.modules()
        if self.json:
            records = {"networks": list(map(asdict, networks)), "modules": list(map(asdict, modules))}
            print(json.dumps(records, indent=2))
        else:
            _print(networks, modules)
        if networks:
            _draw(networks, self.folder / PICTURE)


def _print(networks: Sequence[NetworkRecord], modules: Sequence[ModuleRecord]) -> None:
    console = Terminal()
    if networks:
        # A file or a pipe has room for what a narrow terminal would fold.
        wide = console if console.is_terminal else Terminal(width=max(console.width, _FILE_WIDTH))
        wide.print(network_table(networks))
        console.print()
    console.print(Text(totals(networks, modules)), soft_wrap=True)
    if len(networks) > _MAX_DRAWN:
        note = f"{PICTURE} shows the newest {_MAX_DRAWN:,} of {len(networks):,} networks."
        console.print(Text(note), soft_wrap=True)


def network_table(networks: Sequence[NetworkRecord]) -> Table:
    """A row per network, in the order of their lineage."""
    tasks = {record.key: str(record.task["name"]) for record in networks}
    table = new_table("networks, each below the one it was made from", padding=1)
    table.add_column("task", overflow="fold")
    table.add_column("network", no_wrap=True)
    table.add_column("classes", justify="right", no_wrap=True)
    table.add_column("reused", justify="right", no_wrap=True)
    table.add_column("made from", overflow="fold")
    table.add_column("validation", justify="right", no_wrap=True)
    table.add_column("FLOPs", justify="right", no_wrap=True)
    table.add_column("created", no_wrap=True)
    for record, depth in lineage(networks):
        table.add_row(
            Text(_branch(depth) + tasks[record.key]),
            record.key[:_SHOWN_KEY],
            str(len(record.task["classes"])),
            f"{record.reused} of {len(record.modules)}",
            Text(_parent(record, tasks)),
            _accuracy(record) or NOT_DEFINED,
            scaled(sum(record.cost.values()), "") if record.cost else NOT_DEFINED,
            f"{datetime.fromtimestamp(record.created):%Y-%m-%d}",
        )
    return table


def totals(networks: Sequence[NetworkRecord], modules: Sequence[ModuleRecord]) -> str:
    """Return one line with the totals of a library."""
    parameters, nbytes = (sum(getattr(record, name) for record in modules) for name in ("parameters", "nbytes"))
    return ", ".join(
        [
            _count(len(networks), "network"),
            _count(len(modules), "module"),
            f"{scaled(parameters, '')} parameters",
            scaled(nbytes, "B"),
        ]
    )


def _draw(networks: Sequence[NetworkRecord], path: Path) -> None:
    ordered = [record for record, _ in lineage(networks[-_MAX_DRAWN:])]
    places = {record.key: place for place, record in enumerate(ordered)}
    try:
        plot_lineage(
            [str(record.task["name"]) for record in ordered],
            [places.get(record.parent) if record.parent else None for record in ordered],
            [_accuracy(record) for record in ordered],
            [record.reused for record in ordered],
            path,
        )
    except OSError as error:
        warn(f"{path} cannot be written ({error.strerror}); make the folder writable.")


def _branch(depth: int) -> str:
    if not depth:
        return ""
    shown = min(depth, _MAX_SHOWN_DEPTH)
    return " " * (shown - 1) + ("└ " if depth == shown else f"└{depth} ")


def _parent(record: NetworkRecord, tasks: dict[str, str]) -> str:
    """The task of the network that this one was made from."""
    if record.parent is None:
        return NOT_DEFINED
    return tasks.get(record.parent, "removed")


def _accuracy(record: NetworkRecord) -> str:
    return "" if record.validation is None else f"{100 * record.validation:.1f} %"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
