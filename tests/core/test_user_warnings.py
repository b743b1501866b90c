"""Warnings name a line of the user: that of a script or notebook, or of a hook that redwood calls."""

import re
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from redwood.core.user_warnings import warn
from redwood.settings import Dataset

ROOT = Path(__file__).parents[2]
FOLDERS = ("core", "settings", "engine", "methods", "branches", "buffers", "experiments")


def in_module(name, text):
    """What a module of this name defines."""
    module = {"__name__": name, "warn": warn}
    exec(compile(text, f"{name}.py", "exec"), module)
    return module


INSIDE = in_module("redwood.somewhere", "def tell(text='told'): warn(text)\ndef call(hook): hook()\n")
BETWEEN = in_module("pytorch_lightning.loops", "def call(hook): hook()\n")


@dataclass
class Mine(in_module("redwood.parts", "class Base:\n    def __post_init__(self): warn('told')\n")["Base"]):
    option: int = 0


def hook():
    INSIDE["tell"]()


def line_of(function):
    return function.__code__.co_firstlineno + 1


@pytest.mark.parametrize(
    ("called", "line"),
    [
        (hook, line_of(hook)),
        (lambda: INSIDE["call"](lambda: BETWEEN["call"](hook)), line_of(hook)),
        (lambda: INSIDE["call"](lambda: BETWEEN["call"](INSIDE["tell"])), None),
        (Mine, None),
        (lambda: Dataset.from_arrays(np.zeros((6, 2)), np.arange(6) % 2.0), None),
    ],
)
def test_the_innermost_line_of_the_user_is_named(called, line):
    with pytest.warns(UserWarning) as told:
        called()
    assert [one.filename for one in told] == [__file__]
    assert line is None or told[0].lineno == line


def test_without_a_line_of_the_user_it_is_that_of_the_caller():
    with pytest.warns(UserWarning, match="told") as told:
        thread = threading.Thread(target=INSIDE["tell"])
        thread.start()
        thread.join()
    assert told[0].filename == "redwood.somewhere.py"


def test_it_is_told_once_at_a_line():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for text in ("one", "one", "other"):
            INSIDE["tell"](text)
    assert [str(one.message) for one in told] == ["one", "other"]


def test_all_warnings_of_redwood_are_given_so():
    """Those about a class name the line of the class."""
    calls = [
        (path.relative_to(ROOT).as_posix(), call)
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for call in re.findall(r"warnings\.warn(?:_explicit)?\((?!ClassWarning|warning\.message)", path.read_text())
    ]
    assert calls == [("core/user_warnings.py", "warnings.warn_explicit(")]
