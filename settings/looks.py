"""How a method looks in pictures: by its name, the same in all pictures of a comparison."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from redwood.settings.drawing import COLOURS

LINES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "////", "....", "xxxx", "----", "\\\\\\\\", "oooo", "++++")
MAX_LETTERS = 20  # of a line of a name


@dataclass(frozen=True)
class Look:
    """What tells a method apart.

    Attributes:
        colour: Of bars, lines and points.
        line: Style of lines.
        marker: Of points.
        hatch: Of bars; of methods that have to share a colour all but the first are hatched.
    """

    colour: str
    line: str
    marker: str
    hatch: str


def looks_of(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name; it follows from the names alone, whatever the results are and in which order they come."""
    looks = {}
    for number, name in enumerate(sorted(set(names))):
        turn, colour = divmod(number, len(COLOURS))
        looks[name] = Look(
            COLOURS[colour], LINES[turn % len(LINES)], MARKERS[turn % len(MARKERS)], HATCHES[turn % len(HATCHES)]
        )
    return looks


def wrapped(name: str, most: int = MAX_LETTERS) -> str:
    """A name in lines of at most `most` letters; they end behind underscores, signs and words, never inside a word."""
    lines = [""]
    # A part ends in underscores and signs, or where a capital letter follows a small one.
    for part in re.split(r"(?<=[_+\- :/])(?=[^_+\- :/])|(?<=[a-z])(?=[A-Z])", name):
        if lines[-1] and len(lines[-1] + part.rstrip()) > most:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip(" ") for line in lines)


def height_of(texts: Iterable[str]) -> int:
    """Lines of the highest of some texts."""
    return max(text.count("\n") + 1 for text in texts)


def width_of(texts: Iterable[str]) -> int:
    """Letters of the longest line of some texts."""
    return max(len(line) for text in texts for line in text.split("\n"))


def title_name(name: str) -> str:
    """What a title has of a name: of a file its own name, of a class in a file or module the class."""
    return "+".join(_without_place(part) for part in name.split("+"))


def _without_place(name: str) -> str:
    place, colon, thing = name.rpartition(":")
    # `continuum:CORe50` and `drift_regression:gradual` are names, not places.
    if colon and re.search(r"[./\\]", place):
        return thing
    return re.split(r"[/\\]", name)[-1]
