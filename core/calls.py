"""Calls that a message advises, as the user can paste them: on the command line, or in Python."""

import json
import os
import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redwood.core.errors import RedwoodError
from redwood.core.keywords import as_keywords
from redwood.core.printable import printable

# The words that start the command line, such as `python cli.py`; without it, the user works in Python. Child processes
# inherit it.
_VARIABLE = "REDWOOD_COMMAND_LINE"


@contextmanager
def from_command_line(words: str) -> Iterator[None]:
    """Within the block, advise commands that start with `words`, and no calls of Python."""
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = words
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE, None)
        if before is not None:
            os.environ[_VARIABLE] = before


def command_line_words() -> str | None:
    """The words that start the command line; None if the user works in Python."""
    return os.environ.get(_VARIABLE)


def in_python() -> bool:
    """True if the user works in Python, not on the command line."""
    return command_line_words() is None


def shorten_warnings() -> None:
    """On the command line, write warnings in one line each, without their places in the code."""
    if not in_python():
        warnings.formatwarning = lambda message, *where, **more: printable(f"warning: {message}\n")


def resume_call(folder: str | Path) -> str:
    """The call that goes on with a run or a comparison in a folder."""
    words = command_line_words()
    return python_call("resume", folder) if words is None else f"{words} resume {shlex.quote(str(folder))}"


def python_call(function: str, folder: str | Path, more: str = "") -> str:
    """The call of a function of redwood for a folder, such as `redwood.load("runs/x", method=Mine)`."""
    return f"redwood.{function}({json.dumps(str(folder), ensure_ascii=False)}{more and ', '}{more})"


@contextmanager
def errors_in_keywords() -> Iterator[None]:
    """Within the block, or a function that it decorates, errors for users of Python name keywords, not options."""
    try:
        yield
    except RedwoodError as error:
        if in_python():
            error.args = (as_keywords(str(error)),)
        raise
