"""Methods of a class that look like overrides, and are none: their name is not quite that of a hook."""

import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from types import CodeType

# How alike two names have to be, from 0 to 1: `policy` and `make_policy` are .706.
ALIKE = 0.7


def misnamed_hooks(cls: type) -> Iterator[tuple[str, str]]:
    """The public methods of a class that nothing calls, each with the name of a base that was probably meant.

    A name that the class itself refers to is a helper of its own. One that is unlike all names of its bases is meant
    for callers from outside.
    """
    inherited = {name for base in cls.__mro__[1:] for name in vars(base)}
    own = {name: value.fget if isinstance(value, property) else value for name, value in vars(cls).items()}
    functions = {name: value for name, value in own.items() if inspect.isfunction(value)}
    referred = {name for value in functions.values() for name in _names(value.__code__)}
    hooks = [name for name in inherited if not name.startswith("_") and callable(getattr(cls, name, None))]
    for name in functions.keys() - inherited - referred:
        close = [] if name.startswith("_") else get_close_matches(name, hooks, n=1, cutoff=ALIKE)
        if close:
            yield name, close[0]


def _names(code: CodeType) -> Iterator[str]:
    """All names of attributes and globals that a function refers to, and those inside of it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
