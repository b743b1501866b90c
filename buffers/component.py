"""What policies and samplers have in common: the buffer that they serve."""

import inspect
from collections.abc import Mapping
from typing import ClassVar, TypeVar

from torch import Tensor

from redwood.core.errors import BufferInputError


class Component:
    """A replaceable part of a buffer.

    Set in a subclass:
        needs: What it has to be told of samples, or with each draw.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    is_used = False

    def options(self) -> dict[str, object]:
        """The arguments that it was made with, which are attributes of the same names."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def validate_slots(self, size: int) -> bool:
        """Whether all that it knows of slots is about the first `size` ones, and each of them once."""
        return True

    def slot_metadata(self) -> dict[str, Tensor]:
        """What it knows of each stored sample (size, ...), by name, in the order of the slots.

        Samples that move to other workers take it along.

        Raises:
            ValueError: If it goes by more than what it knows of samples one by one.
        """
        raise BufferInputError(
            f"{type(self).__name__} cannot move to another number of workers; resume on as many as saved it."
        )


P = TypeVar("P", bound=Component)


def component_class(part: P | str, known: Mapping[str, type[P]], kind: str) -> type[P]:
    """The class of a part, which is given as an object or by name; see `resolve_component`.

    Raises:
        ValueError: If there is no such part.
    """
    if isinstance(part, str):
        if part not in known:
            raise BufferInputError(f"There is no {kind} {part!r}; choose one of {', '.join(known)}.")
        return known[part]
    if not isinstance(part, Component):
        raise BufferInputError(f"A {kind} is an object such as {next(iter(known.values())).__name__}(), got {part!r}.")
    return type(part)


def resolve_component(part: P | str, known: Mapping[str, type[P]], kind: str) -> P:
    """A part for one buffer.

    Args:
        part: A new part, or the name of one.
        known: Classes by name.
        kind: `policy` or `sampler`, for messages.

    Raises:
        ValueError: If there is no such part, or it serves another buffer already.
    """
    made = component_class(part, known, kind)
    if isinstance(part, str):
        part = made()
    if part.is_used:
        raise BufferInputError(f"This {type(part).__name__} serves another buffer already; make a new one.")
    part.is_used = True
    return part
