"""Find the class of a method by its key."""

from typing import TypeGuard

from redwood.core.errors import RedwoodError
from redwood.core.registry import look_up
from redwood.methods.base import Method
from redwood.methods.composition import SIGN, compose
from redwood.methods.table import AGENT_PARTS, ENTRY_POINTS, METHODS, references


def get_method(name: str) -> type[Method]:
    """Return the method class of a key, `package.module:Class`, `path/to/file.py:Class` or entry point.

    Several of these with plus signs between them, such as `ewc+rehearsal`, stand for one method that does all of it.

    Raises:
        RedwoodError: If there is no such method, the name stands for something else, or methods cannot be joined.
    """
    if SIGN in name:
        names = name.split(SIGN)
        if "" in names:
            raise RedwoodError(f"In {name} a name is missing beside a plus sign; write it as in ewc+rehearsal.")
        return compose(*_joined(names))
    if name in AGENT_PARTS and name not in METHODS:
        raise RedwoodError(f"{name} is no method of its own; join it to an agent, as in dqn+{name}.")
    found = look_up("method", name, references(METHODS), ENTRY_POINTS, _is_method)
    if not _is_method(found):
        raise RedwoodError(f"{name} is not a method: it has to be a subclass of redwood.methods.Method.")
    return found


def _is_method(found: object) -> TypeGuard[type[Method]]:
    return isinstance(found, type) and issubclass(found, Method)


def _joined(names: list[str]) -> list[type[Method]]:
    """The classes of names that are joined; beside an agent, a name of `AGENT_PARTS` means that part."""
    others = [get_method(name) for name in names if name not in AGENT_PARTS]
    if not any(method.target.assumptions.rewards for method in others):
        return [get_method(name) for name in names]
    return [get_method(AGENT_PARTS[name].reference if name in AGENT_PARTS else name) for name in names]
