"""Find likely mistakes in a user's class: misspelt hooks, and options whose names an inherited option has already."""

import dataclasses
import inspect
import warnings
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from types import CodeType

from simple_parsing.docstring import get_attribute_docstring

from redwood.core.errors import ClassWarning

# The least similarity of two names, from 0 to 1: `policy` and `make_policy` have 0.706.
ALIKE = 0.7


def warn_of_misnamed(cls: type, stacklevel: int, further: Sequence[str] = ()) -> None:
    """Warn of methods and class variables of a user's class whose names nearly match a known name.

    Args:
        cls: The class, while it is being created. Names that its bases define are known.
        stacklevel: That of the class statement, counted from the caller.
        further: Names of further methods that are called.
    """
    if not cls.__module__.startswith("redwood."):
        for text in (*_misnamed_methods(cls, further), *_misnamed_variables(cls)):
            warnings.warn(ClassWarning(f"{cls.__name__}.{text}, give it that name.", cls), stacklevel=stacklevel + 1)


def _misnamed_methods(cls: type, further: Sequence[str]) -> Iterator[str]:
    """Methods with a name that is nearly that of a hook.

    A name that the class itself refers to is a helper of its own. One that is unlike all hooks is meant for callers
    from outside.
    """
    inherited = {name for base in cls.__mro__[1:] for name in vars(base)} | {*further}
    own = {name: value.fget if isinstance(value, property) else value for name, value in vars(cls).items()}
    functions = {name: value for name, value in own.items() if inspect.isfunction(value)}
    referred = {name for value in functions.values() for name in _names(value.__code__)}
    hooks = [name for name in inherited if not name.startswith("_") and callable(getattr(cls, name, None))]
    for name in functions.keys() - inherited - referred:
        close = [] if name.startswith("_") else get_close_matches(name, [*hooks, *further], n=1, cutoff=ALIKE)
        if close:
            yield f"{name} is called by nothing; if it is to override {close[0]}"


def _misnamed_variables(cls: type) -> Iterator[str]:
    """Class variables with a name that is nearly that of an inherited one."""
    known = {name for base in cls.__mro__[1:] for name in _class_variables(base)}
    classes = {name for name, value in vars(cls).items() if isinstance(value, type)}
    options = inspect.get_annotations(cls).keys()
    for name in sorted((_class_variables(cls) | (classes - options)) - known):
        close = [] if name.startswith("_") else get_close_matches(name, known, n=1, cutoff=ALIKE)
        if close:
            yield f"{name} is read by nothing; if it is to set {close[0]}"


def _class_variables(cls: type) -> set[str]:
    """Names that a class annotates as class variables itself."""
    annotations = inspect.get_annotations(cls).items()
    return {name for name, kind in annotations if "ClassVar" in str(kind)}


def _names(code: CodeType) -> Iterator[str]:
    """All names of attributes and globals that a function refers to, and those inside of it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def refuse_taken_options(cls: type) -> None:
    """Refuse options of a new class that have the name of an inherited option: both would be one.

    To change the default of an inherited option, a class repeats the option's comment, or its beginning. This says that
    the same option is meant.

    Raises:
        TypeError: If an option has another default or another comment than the inherited one.
    """
    for name, base in _taken(cls):
        before = next(f for f in dataclasses.fields(base) if f.name == name)
        own, inherited = option_comment(cls, name), option_comment(base, name)
        if inherited.startswith(own) and (own or not inherited or _default(vars(cls).get(name)) == _default(before)):
            continue
        raise TypeError(
            f"{cls.__name__}.{name} is an option of {base.__name__} already ({inherited}); rename it, or repeat that "
            "comment, or its beginning, if the default is all that changes."
        )


def _taken(cls: type) -> Iterator[tuple[str, type]]:
    """Yield each option that a new class declares again, and the nearest base that declares it."""
    for name in inspect.get_annotations(cls):
        for base in cls.__mro__[1:]:
            if name in inspect.get_annotations(base):
                if dataclasses.is_dataclass(base) and name in {f.name for f in dataclasses.fields(base)}:
                    yield name, base
                break


def option_comment(cls: type, name: str) -> str:
    """The comment of an option where a class declares it, in one line; empty if it has none there."""
    found = get_attribute_docstring(cls, name, accumulate_from_bases=False)
    return " ".join((found.comment_inline or found.comment_above).split())


def _default(value: object) -> object:
    """Return the default of a field: the value, or the factory that makes it."""
    if not isinstance(value, dataclasses.Field):
        return value
    return value.default if value.default_factory is dataclasses.MISSING else value.default_factory
