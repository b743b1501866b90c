"""The class of the results in a file, and the checks of a class that a user has written."""

from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, TypeGuard, TypeVar

from redwood.core.branches import entries
from redwood.core.errors import DataError, RedwoodError
from redwood.core.imports import is_limited, is_own, may_import
from redwood.core.registry import look_up, reference_of
from redwood.core.user_warnings import warn

if TYPE_CHECKING:
    from redwood.settings.scores.results import Results

CLASSES_KEY = "results"  # in a file: the class of the results, then its bases up to the first of redwood's
ENTRY_POINTS = "redwood.results"  # branches and other packages name the classes of their results under this name
_R = TypeVar("_R", bound="Results")


def check_results_class(cls: "type[Results]") -> None:
    """Raise `RedwoodError` unless results of a user's class can be made, written and read."""
    *own, base = _up_to_ours(cls)
    if own and "__dataclass_fields__" not in vars(cls):
        raise RedwoodError(f"{cls.__name__} is no dataclass; put @dataclass(kw_only=True) above it.")
    written = {*cls.own_entries, *cls.optional_entries}
    added = [f for f in fields(cls) if f.init and f.name not in base.__dataclass_fields__]
    for f in added:
        if f.default is MISSING and f.default_factory is MISSING:
            raise RedwoodError(f"{cls.__name__}.{f.name} has no default; give it one: a file may lack it.")
        if f.name not in written:
            raise RedwoodError(f"{cls.__name__}.{f.name} would not be written; name it in own_entries.")
    for name in sorted(written - {f.name for f in fields(cls)}):
        if not hasattr(cls, name):
            raise RedwoodError(f"{cls.__name__}.own_entries names {name}, which the class does not have; add it.")


def references_of(cls: "type[Results]") -> list[str]:
    """Return the class, and its bases up to the first of redwood's own, as references."""
    return [reference_of(base, {}) for base in _up_to_ours(cls)]


def _up_to_ours(cls: "type[Results]") -> "list[type[Results]]":
    first = next(number for number, base in enumerate(cls.__mro__) if base.__module__.startswith("redwood."))
    return list(cls.__mro__[: first + 1])


def class_for(content: dict[str, object], cls: "type[_R]") -> "tuple[type[_R], dict[str, object]]":
    """Return the class of the results in a file, `cls` or a subclass, and the entries that it knows.

    Where the class is code of a user that must not be run, it is the nearest of its bases; a warning tells that.

    Raises:
        DataError: If the file names no class of results.
    """
    references = content.get(CLASSES_KEY, [reference_of(cls, {})])
    if not isinstance(references, list) or not all(isinstance(reference, str) for reference in references):
        raise DataError(f"The entry {CLASSES_KEY} has to be a list of classes; pass what redwood wrote.")
    found = next((known for reference in references if (known := _loaded(reference, cls)) is not None), None)
    if found is None:
        raise DataError(f"They are of {', '.join(references)}, which is no {cls.__name__}; pass what redwood wrote.")
    if reference_of(found, {}) == references[0]:
        return found, content
    warn(
        f"{references[0]} was not loaded, so that its own entries are left out; add --trust, import it first, or let "
        f"its package name it as an entry point of {ENTRY_POINTS}."
    )
    allowed = {*found.keys(), *found.optional_keys()}
    return found, {name: value for name, value in content.items() if name in allowed}


def _loaded(reference: str, cls: "type[_R]") -> "type[_R] | None":
    """Return the class below `cls` that a reference names; None if there is none, or it must not be imported."""
    known = [known for known in _below(cls) if reference_of(known, {}) == reference]
    if known:
        return known[-1]  # a notebook may have defined it again
    location = reference.rpartition(":")[0]
    registered = any(reference == value for _, value in entries(ENTRY_POINTS))
    if not (is_own(reference) or registered or (is_limited() and may_import(location))):
        return None
    try:
        found = look_up("results", reference, {}, ENTRY_POINTS, lambda one: _is_below(one, cls))
    except RedwoodError as error:
        warn(f"The class of some results cannot be loaded: {error}")
        return None
    return found if _is_below(found, cls) else None


def _below(cls: "type[_R]") -> "Iterator[type[_R]]":
    yield cls
    for subclass in cls.__subclasses__():
        yield from _below(subclass)


def _is_below(found: object, cls: "type[_R]") -> "TypeGuard[type[_R]]":
    return isinstance(found, type) and issubclass(found, cls)
