"""Several methods as one, such as `ewc+rehearsal`: their options, their losses, their memories."""

import dataclasses
import inspect
from collections import ChainMap
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import permutations
from typing import Any

from redwood.core.errors import InvalidOptionError
from redwood.methods.base import Composition, Method
from redwood.settings.base import Setting

SIGN = "+"
PLACES = (Composition.FIRST, Composition.ANYWHERE, Composition.LAST)


def compose(*methods: type[Method]) -> type[Method]:
    """A method that does what all of several methods do.

    It inherits all of them, and the overrides of each call those of the next. Its target is the most specific of their
    targets. It has the options of all. If both methods define an option, the first method's default is used.

    Args:
        *methods: The classes. Their order only decides which default is used: a method that must come first or last
            is put there.

    Returns:
        A dataclass; the same one for the same methods in the same order.

    Raises:
        InvalidOptionError: If they cannot be joined.
    """
    if not methods:
        raise InvalidOptionError("There is nothing to compose; pass one method class at least.")
    reference = SIGN.join(method.reference() for method in methods)
    for method in methods:
        if method.composition is Composition.NEVER:
            raise InvalidOptionError(
                f"The method {reference} cannot be made: {method.reference()} is a procedure of its own, "
                "which nothing can be added to; leave it out."
            )
    _refuse_relatives(reference, methods)
    _refuse_barred(reference, methods)
    _refuse_shared_options(reference, methods)
    last = [method for method in methods if method.composition is Composition.LAST]
    if len(last) > 1:
        names = " and ".join(method.reference() for method in last)
        raise InvalidOptionError(
            f"The method {reference} cannot be made: {names} each have a loss of their own, in which the others' "
            "has no place; choose one of them."
        )
    return _composed(tuple(sorted(methods, key=lambda method: PLACES.index(method.composition))))


def _refuse_relatives(reference: str, methods: tuple[type[Method], ...]) -> None:
    for position, method in enumerate(methods):
        for other in methods[:position] + methods[position + 1 :]:
            if issubclass(method, other) or other in method.extends:
                what = "is named twice" if method is other else f"is {other.reference()} and more"
                raise InvalidOptionError(
                    f"The method {reference} cannot be made: {method.reference()} {what}; leave the latter out."
                )


def _refuse_barred(reference: str, methods: tuple[type[Method], ...]) -> None:
    for one, other in permutations(methods, 2):
        why = why_barred(one, other)
        if why is not None:
            raise InvalidOptionError(
                f"The method {reference} cannot be made: {one.reference()} does not go with "
                f"{other.reference()}, {why}; choose one of them."
            )


def _refuse_shared_options(reference: str, methods: tuple[type[Method], ...]) -> None:
    """Two options of one name would be one; those of our own methods that share a name mean the same."""
    for one, other in permutations(methods, 2):
        for owner in one.__mro__:
            if owner.__module__.startswith("redwood.") or owner in other.__mro__:
                continue
            for name in _introduced(owner) & {f.name for f in dataclasses.fields(other)}:
                raise InvalidOptionError(
                    f"The method {reference} cannot be made: {owner.__name__} and {other.__name__} both have an option "
                    f"{name}; rename the field of {owner.__name__}."
                )


def _introduced(cls: type) -> set[str]:
    """The options that a class has and none of its bases."""
    known = {f.name for base in cls.__mro__[1:] if dataclasses.is_dataclass(base) for f in dataclasses.fields(base)}
    own = inspect.get_annotations(cls)
    return (
        {f.name for f in dataclasses.fields(cls) if f.name in own} - known if dataclasses.is_dataclass(cls) else set()
    )


def why_barred(one: type[Method], other: type[Method]) -> str | None:
    """Why `one` does not go with what `other` brings, as a clause; None if it does."""
    for part, why in _bars(one).items():
        for owner in other.__mro__:
            # Two methods may share one part, which a common base of theirs brings.
            if part in vars(owner).get("brings", ()) and not issubclass(one, owner):
                return why
    return None


def _bars(method: type[Method]) -> Mapping[str, str]:
    return ChainMap(*(vars(base)["bars"] for base in method.__mro__ if "bars" in vars(base)))


@cache
def _composed(methods: tuple[type[Method], ...]) -> type[Method]:
    # What the others are added to is named before them, as in dqn+ewc, whatever order was asked for.
    named = sorted(methods, key=lambda method: method.composition is Composition.ANYWHERE)
    reference = SIGN.join(method.reference() for method in named)
    namespace: dict[str, object] = {
        "__doc__": f"{' and '.join(method.__name__ for method in methods)}, joined.",
        "__module__": __name__,
        "__reduce__": lambda method: (_new, methods, vars(method)),
        "reference": classmethod(lambda cls: reference),
        "target": _common_target(reference, methods),
        "requires": frozenset().union(*(method.requires for method in methods)),
        "regression": all(method.regression for method in methods),
        "multi_label": all(method.multi_label for method in methods),
        "composition": max((method.composition for method in methods), key=lambda one: one is Composition.LAST),
    }
    name = SIGN.join(method.__name__ for method in methods)
    return dataclasses.make_dataclass(name, _options(methods), bases=methods, namespace=namespace)


def _common_target(reference: str, methods: Sequence[type[Method]]) -> type[Setting]:
    targets = [method.target for method in methods]
    for target in targets:
        if all(issubclass(target, other) for other in targets):
            return target
    names = ", ".join(sorted({target.__name__ for target in targets}))
    raise InvalidOptionError(
        f"The method {reference} cannot be made: no setting suits all of it, which targets {names}."
    )


def _options(methods: tuple[type[Method], ...]) -> list[tuple[str, Any, Any]]:
    """Name, type and default of all fields, as Python's inheritance would have them.

    A dataclass takes over all fields of its first base, inherited ones included, even if the second base gave some of
    them another default.
    """
    options: dict[str, tuple[str, object, object]] = {}
    for base in reversed(type("Joined", methods, {}).__mro__[1:]):
        own = inspect.get_annotations(base)
        for f in dataclasses.fields(base) if dataclasses.is_dataclass(base) else ():
            if f.name in own:
                copy = dataclasses.field(default=f.default, metadata=f.metadata)
                if f.default is dataclasses.MISSING:
                    copy = dataclasses.field(default_factory=f.default_factory, metadata=f.metadata)
                options[f.name] = (f.name, f.type, copy)
    return list(options.values())


def _new(*methods: type[Method]) -> Method:
    """For pickle, which finds no class that was made by `compose`: workers compose it again."""
    cls = compose(*methods)
    return cls.__new__(cls)
