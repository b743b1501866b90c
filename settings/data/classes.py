"""The names of the classes of a stream, and the classes that each output stands for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Classes:
    """The classes of a stream by their names; a class without one is called by its number in its data set.

    Attributes:
        outputs: The classes that each output stands for (K,): several where tasks share outputs by their places.
            Empty where there are no classes, but numbers to predict or actions.
        by_label: The class of each label of the data. Empty where data sets disagree on that.
        named: Whether the data has names for them.
    """

    outputs: tuple[tuple[str, ...], ...] = ()
    by_label: tuple[str, ...] = ()
    named: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each output (K,); empty where the data has none."""
        names = tuple(" / ".join(own) or str(output) for output, own in enumerate(self.outputs))
        return names if self.named and names != numbers(len(names)) else ()


def numbers(n: int) -> tuple[str, ...]:
    """Return the names of `n` classes without names: their numbers."""
    return tuple(map(str, range(n)))


def agreed(*labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the class of each label, if all data sets (one tuple of classes by label each) agree on it; else ()."""
    longest = max(labels, key=len)
    return longest if all(longest[: len(own)] == own for own in labels) else ()
