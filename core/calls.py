"""Calls that a message advises, as the user can paste them: on the command line, or in Python."""

import json
import os
import shlex
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from redwood.core.errors import RedwoodError
from redwood.core.keywords import as_keywords
from redwood.core.printable import printable

# The words that start the command line, such as `python cli.py`; without it, the user works in Python. Child processes
# inherit it.
_VARIABLE = "REDWOOD_COMMAND_LINE"
# The arguments of the command, in the process that the user has started.
_arguments: list[str] = []


@contextmanager
def from_command_line(words: str, arguments: Sequence[str] = ()) -> Iterator[None]:
    """Within the block, advise commands that start with `words`, and no calls of Python.

    Args:
        words: Such as `python cli.py`.
        arguments: The arguments that the user has given.
    """
    before, arguments_before = os.environ.get(_VARIABLE), _arguments[:]
    os.environ[_VARIABLE] = words
    _arguments[:] = arguments
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE, None)
        if before is not None:
            os.environ[_VARIABLE] = before
        _arguments[:] = arguments_before


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


def command_word() -> str | None:
    """The word that names the command of the user, such as `predict`; None if there is none, or in Python."""
    return _arguments[0] if _arguments and not _arguments[0].startswith("-") else None


def command_with(option: str) -> str | None:
    """The command of the user with a further option; None if it is not known, or in Python."""
    words = command_line_words()
    return None if words is None or not _arguments else f"{words} {shlex.join([*_arguments, option])}"


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
