"""A progress bar in a notebook: HTML that the notebook replaces. It needs no widgets, and stored notebooks keep it."""

import time
from html import escape
from typing import Any

from redwood.core.printable import printable

_PAUSE_S = 0.1  # between two changes


class NotebookBar:
    """A bar with a text beside it, below the output of the cell so far."""

    def __init__(self) -> None:
        from IPython.display import DisplayHandle  # only a notebook has it

        self._handle: Any = DisplayHandle()  # type: ignore[no-untyped-call]
        self._next: float | None = None  # when the bar may change again; None: it is not there yet

    def show(self, done: float, total: float, text: str, *, at_once: bool = False) -> None:
        """Show how much is done, with a text; `at_once`: even if the last change was a moment ago."""
        now = time.monotonic()
        if self._next is not None and now < self._next and not at_once:
            return
        bar = f'<progress value="{done:.4g}" max="{total:.4g}" style="width: 20em; vertical-align: middle"></progress>'
        content = {"text/html": f"<div>{bar} {escape(printable(text))}</div>", "text/plain": printable(text)}
        (self._handle.display if self._next is None else self._handle.update)(content, raw=True)
        self._next = now + _PAUSE_S

    def clear(self) -> None:
        """Take the bar away, if it is there."""
        if self._next is not None:
            self._handle.update({"text/html": "", "text/plain": ""}, raw=True)
