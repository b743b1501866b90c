"""Texts as a terminal may get them: names of classes, files and runs may come from a stranger."""

import re
from collections.abc import Iterable

# Control characters but tab and new line, marks that turn the direction of writing, and bytes that are no UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with a question mark, as `ls` has it, for each character that would steer the terminal."""
    return _UNPRINTABLE.sub("?", text)


def cells(values: Iterable[object]) -> list[object]:
    """A row of a CSV file: its texts are printable, as such files are read in a terminal, too."""
    return [printable(value) if isinstance(value, str) else value for value in values]
