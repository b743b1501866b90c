"""The terminal: everything that redwood's tables and lines show passes here."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from typing_extensions import override

from redwood.core.printable import printable


class Terminal(Console):
    """A console that shows texts as they are: what they hold cannot steer the terminal."""

    @override
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)
