"""The parts of the option `--members`: how often each member of the crowd errs."""

from abc import abstractmethod
from dataclasses import dataclass

from redwood.core.checks import check_range
from redwood.core.parts import Kind, Part


@dataclass
class Members(Part):
    """How often each member errs."""

    count: int = 4  # members of the crowd

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        check_range(self, "count", 1, 100)

    @abstractmethod
    def error_rates(self) -> list[float]:
        """The share of wrong labels of each member (M,)."""


MEMBERS = Kind("members", Members, "redwood_crowd.members")


@MEMBERS.register("alike")
@dataclass
class Alike(Members):
    """All members err equally often."""

    error_rate: float = 0.2  # share of the labels that are wrong

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        check_range(self, "error_rate", 0, 1)

    def error_rates(self) -> list[float]:
        """The share of wrong labels of each member (M,)."""
        return [self.error_rate] * self.count


@MEMBERS.register("unequal")
@dataclass
class Unequal(Members):
    """The first member never errs, the last one most often."""

    worst: float = 0.6  # share of wrong labels of the last member

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        check_range(self, "worst", 0, 1)

    def error_rates(self) -> list[float]:
        """The share of wrong labels of each member (M,)."""
        return [self.worst * member / max(1, self.count - 1) for member in range(self.count)]
