"""The transition from one task to the next in the stream: the option `transition`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Kind, Part
from redwood.settings.assumptions import Context
from redwood.settings.data.entries import Entries
from redwood.settings.streams.order import abrupt, blurry, gradual


@dataclass
class Transition(Part):
    """The transition from one task to the next: abrupt, unless a subclass changes it."""

    def mix(self, tasks: list[Entries], seed: int) -> list[Entries]:
        """The samples of each task, once those of other tasks are mixed in."""
        return tasks

    def join(self, tasks: Sequence[Entries], seed: int, first: int) -> Entries:
        """The samples of all tasks in one stream, whose first task has the number `first`."""
        return abrupt(tasks, seed + first)

    def check_order(self, stream: str) -> None:
        """Raise `InvalidOptionError` if tasks cannot follow each other so in a stream that keeps their order."""


TRANSITIONS = Kind("transition", Transition, "redwood.transitions")


@TRANSITIONS.register("abrupt")
@dataclass
class Abrupt(Transition):
    """A task ends before the next one begins."""


@TRANSITIONS.register("blurry")
@dataclass
class Blurry(Transition):
    """A share of each task's samples turns up in the other tasks (Bang et al., 2021, section 3)."""

    blur: float = 0.1  # share of a task's samples that turn up in other tasks

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "blur", 0, 1)

    @override
    def mix(self, tasks: list[Entries], seed: int) -> list[Entries]:
        return blurry(tasks, self.blur, seed)

    @override
    def check_order(self, stream: str) -> None:
        raise InvalidOptionError(
            f"--transition blurry mixes the samples of tasks, but --stream {stream} keeps their order; leave it out or "
            "use --stream instance."
        )

    @classmethod
    @override
    def why_unsuitable(cls, owner: Any) -> str | None:
        promised = owner.assumptions
        pools = promised.context == Context.STATIONARY or promised.past_accessible
        return "which pools the tasks" if pools else None


@TRANSITIONS.register("gradual")
@dataclass
class Gradual(Transition):
    """Each task fades into the next one."""

    drift_width: float = 1.0  # length of the overlap of two tasks, in tasks

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "drift_width", 0)

    @override
    def join(self, tasks: Sequence[Entries], seed: int, first: int) -> Entries:
        return gradual(tasks, self.drift_width, seed)

    @override
    def check_order(self, stream: str) -> None:
        # The default of settings whose tasks may drift; data with an order of its own drifts by itself.
        if self.drift_width != type(self).drift_width:
            raise InvalidOptionError(
                f"--drift_width {self.drift_width} mixes the samples of tasks, but --stream {stream} keeps their "
                "order; leave it out or use --stream instance."
            )

    @classmethod
    @override
    def why_unsuitable(cls, owner: Any) -> str | None:
        return "whose contexts are discrete" if owner.assumptions.context > Context.CONTINUOUS else None
