"""The base of policies and samplers: components that serve one buffer each."""

import inspect
from collections.abc import Mapping
from typing import ClassVar, TypeVar

from torch import Tensor

from redwood.core.errors import BufferInputError


class Component:
    """A replaceable component of a buffer.

    Set in a subclass:
        needs: Names of the side information that it needs, of samples or with each draw.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    is_used = False

    def options(self) -> dict[str, object]:
        """The arguments of its constructor, which are attributes of the same names.

        Raises:
            ValueError: If one of them is no attribute.
        """
        names = list(inspect.signature(type(self)).parameters)
        for name in names:
            if not hasattr(self, name):
                own = type(self).__name__
                raise BufferInputError(
                    f"{own} does not keep its argument {name}; write self.{name} = {name} in its __init__."
                )
        return {name: getattr(self, name) for name in names}

    def validate_slots(self, size: int) -> bool:
        """True if it knows the first `size` slots, each of them once, and no others."""
        return True

    def slot_metadata(self) -> dict[str, Tensor]:
        """The metadata of each stored sample (size, ...), by name, in the order of the slots.

        Samples that move to other workers take their metadata along.

        Raises:
            ValueError: If metadata of single samples is not all that it needs.
        """
        raise BufferInputError(
            f"{type(self).__name__} cannot move to another number of workers; resume on as many as saved it."
        )


P = TypeVar("P", bound=Component)


def component_class(component: P | str, known: Mapping[str, type[P]], kind: str) -> type[P]:
    """The class of a component, which is given as an object or by name; see `resolve_component`.

    Raises:
        ValueError: If there is no such component.
    """
    if isinstance(component, str):
        if component not in known:
            raise BufferInputError(f"There is no {kind} {component!r}; choose one of {', '.join(known)}.")
        return known[component]
    if not isinstance(component, Component):
        raise BufferInputError(
            f"A {kind} is an object such as {next(iter(known.values())).__name__}(), got {component!r}."
        )
    return type(component)


def resolve_component(component: P | str, known: Mapping[str, type[P]], kind: str) -> P:
    """A component for one buffer.

    Args:
        component: A new component, or the name of one.
        known: Classes by name.
        kind: `policy` or `sampler`, for messages.

    Raises:
        ValueError: If there is no such component, it serves another buffer already, or does not keep its arguments.
    """
    made = component_class(component, known, kind)
    if isinstance(component, str):
        component = made()
    if component.is_used:
        raise BufferInputError(f"This {type(component).__name__} serves another buffer already; make a new one.")
    component.options()  # a snapshot needs them, and comes hours later
    component.is_used = True
    return component
