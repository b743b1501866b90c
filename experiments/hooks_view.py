"""Print what a class below a method may override: the hooks of its base classes, with a line on each."""

import inspect
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from redwood.engine.terminal import Terminal
from redwood.methods.base import Method
from redwood.methods.lookup import get_method


class Hook(NamedTuple):
    """A method of a class that subclasses may override; `method` is where it was declared first."""

    declared_by: str
    call: str
    summary: str


def hooks_of(method: type[Method]) -> Iterator[Hook]:
    """The public methods of a class, from the most general base on; the summary is that of the class itself."""
    seen: set[str] = set()
    for base in reversed(method.__mro__):
        if not issubclass(base, Method):
            continue
        for name, value in vars(base).items():
            if inspect.isfunction(value) and not name.startswith("_") and name not in seen:
                seen.add(name)
                function = getattr(method, name)
                parameters = ", ".join(list(inspect.signature(function).parameters)[1:])
                text = (inspect.getdoc(function) or "").partition("\n\n")[0]
                yield Hook(base.__name__, f"{name}({parameters})", " ".join(text.split()))


def print_hooks(key: str) -> None:
    """Print the hooks of a method by its key or reference.

    Raises:
        RedwoodError: If it is unknown or cannot be imported.
    """
    console = Terminal()
    for declared_by, hooks in groupby(hooks_of(get_method(key)), key=attrgetter("declared_by")):
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title=declared_by, title_justify="left")
        for hook in hooks:
            table.add_row(Text(hook.call), Text(hook.summary))
        console.print(table)
