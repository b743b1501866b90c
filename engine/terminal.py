"""The terminal: everything that redwood's tables and lines show passes here; the style of tables and numbers."""

from collections.abc import Iterable

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from redwood.core.printable import printable

NOT_DEFINED = "\N{EN DASH}"  # a value that there is none of


class Terminal(Console):
    """A console that shows texts as they are: what they hold cannot steer the terminal."""

    @override
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


def new_table(title: str, padding: int, show_header: bool = True) -> Table:
    """An empty table in the style of all tables.

    Args:
        title: Written above it.
        padding: Spaces to the right of each column.
        show_header: Whether columns have names.
    """
    return Table(
        title=Text(title),
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        show_header=show_header,
        padding=(0, padding, 0, 0),
    )


def scaled(value: float, unit: str, *, significant: int = 3) -> str:
    """Write a number with the prefix that leaves one to three digits before the point, and so many significant ones."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if abs(value) < 999.5 or prefix == "P":
            break
        value /= 1000
    before = 1 + sum(value >= 10**digits - 0.5 * 10.0 ** (digits - significant) for digits in (1, 2))
    return f"{value:.{0 if prefix == '' else max(0, significant - before)}f} {prefix}{unit}".rstrip()
