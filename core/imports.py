"""Limit the user's files and modules that a process may import: all, or only those that its command line names.

A file of options may come from a stranger. Its names reach an import by many options, and through further files. So the
import itself makes the check. An option that was overlooked cannot import anything, either.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# The places that may be imported, as a JSON list; null, or without it: any. Child processes inherit it.
_VARIABLE = "REDWOOD_IMPORTS"
_OWN = ("redwood.settings.", "redwood.methods.", "redwood.branches.")
# The text behind the last colon of a reference is a name. `ring:k=3` and `long_tail:10` have arguments there.
_NAME = re.compile(r"[^\W\d][^:=]*")
_STARTS, _END = re.compile(r"(?:^|[,+=:\s])"), re.compile(r"[,+\s]|$")


@contextmanager
def only(named: Iterable[str] | None) -> Iterator[None]:
    """Within the block, import only those files and modules of a user that these texts name.

    Args:
        named: Texts such as `--dataset=file.py:function`, `random,package.module:Class` or `ewc+file.py:Class`.
            None: no limit.
    """
    before = os.environ.pop(_VARIABLE, None)
    places = None if named is None else sorted({place for text in named for place in _places_in(text)})
    os.environ[_VARIABLE] = json.dumps(places)
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE, None)
        if before is not None:
            os.environ[_VARIABLE] = before


def allow(reference: str) -> None:
    """Let the place of `file.py:Name` or `package.module:Name` be imported, too."""
    places = _allowed()
    if places is not None:
        os.environ[_VARIABLE] = json.dumps(sorted({*places, *_places_in(reference)}))


def may_import(location: str) -> bool:
    """True if `path/to/file.py` or `package.module` may be imported."""
    places = _allowed()
    return places is None or is_own(location) or _place(location) in places


def is_limited() -> bool:
    """True if `only` is in force, even with None, which sets no limit."""
    return _VARIABLE in os.environ


def is_own(name: str) -> bool:
    """True if a name is that of a module of redwood's settings, methods or branches, or of an object in one."""
    return name.startswith(_OWN) and ".py" not in name


def is_reference(text: str) -> bool:
    """True if a text has the form of `file.py`, `file.py:Name` or `package.module:Name`."""
    location, colon, name = text.rpartition(":")
    return text.endswith(".py") or (bool(colon and location) and _NAME.fullmatch(name) is not None)


def _allowed() -> list[str] | None:
    value = os.environ.get(_VARIABLE)
    found: list[str] | None = None if value is None else json.loads(value)
    return found


def _places_in(text: str) -> set[str]:
    """The places of all references in a text, wherever they begin: behind a comma, a sign, or the name of a kind."""
    if ":" not in text and ".py" not in text:
        return set()
    found = {text}
    for start in _STARTS.finditer(text):
        end = _END.search(text, start.end())
        found.add(text[start.end() : end.start() if end else None])
    references = filter(is_reference, found)
    return {_place(one if one.endswith(".py") else one.rpartition(":")[0]) for one in references}


def _place(location: str) -> str:
    return os.path.realpath(location) if location.endswith(".py") else location
