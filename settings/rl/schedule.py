"""Which task an environment is at, step by step."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from redwood.settings.rl.tasks import Task

NEVER = 2**62


class Context(NamedTuple):
    """What an environment is at some step.

    Attributes:
        task: The task; of a smooth drift the one that it left last.
        values: The physics.
        until: The step from which on this may no longer hold.
        slopes: What is added to the physics with each step, where they drift; `values` are those of step 0 then.
    """

    task: int
    values: dict[str, float]
    until: int
    slopes: dict[str, float] | None = None


class Schedule(ABC):
    """Says what an environment is at each step of its phase; steps count from 0, all copies together."""

    @abstractmethod
    def at(self, step: int, draw: float) -> Context:
        """The context of a step.

        Args:
            step: Steps of the phase that have been taken before it.
            draw: Uniform in [0, 1), for what is drawn at the start of an episode.
        """


class Fixed(Schedule):
    """One task all the time."""

    def __init__(self, task: int, tasks: Sequence[Task]) -> None:
        self._context = Context(task, tasks[task].values, NEVER)

    def at(self, step: int, draw: float) -> Context:
        """The task."""
        return self._context


class Switching(Schedule):
    """One task after the other, each for the same number of steps."""

    def __init__(self, tasks: Sequence[Task], steps_per_task: int) -> None:
        ends = [*((index + 1) * steps_per_task for index in range(len(tasks) - 1)), NEVER]
        self._contexts = [
            Context(index, task.values, end) for index, (task, end) in enumerate(zip(tasks, ends, strict=True))
        ]
        self._steps = steps_per_task

    def at(self, step: int, draw: float) -> Context:
        """The task whose turn it is."""
        return self._contexts[min(step // self._steps, len(self._contexts) - 1)]


class Drifting(Schedule):
    """The physics move from task to task in straight lines, a little at every step.

    The first step is at the first task, the last step at the last one.
    """

    def __init__(self, tasks: Sequence[Task], total: int) -> None:
        self._pace = (len(tasks) - 1) / max(total - 1, 1)
        self._contexts = [self._line(index, *ends) for index, ends in enumerate(pairwise([*tasks, tasks[-1]]))]

    def at(self, step: int, draw: float) -> Context:
        """The line that the step lies on."""
        return self._contexts[int(step * self._pace)]

    def _line(self, index: int, here: Task, there: Task) -> Context:
        changes = {name: there.values[name] - value for name, value in here.values.items()}
        begin = {name: value - index * changes[name] for name, value in here.values.items()}
        slopes = {name: change * self._pace for name, change in changes.items()}
        return Context(index, begin, math.ceil((index + 1) / self._pace) if self._pace else NEVER, slopes)


class RandomPerEpisode(Schedule):
    """Each episode is of a task drawn at random, all alike likely, but for those that `order` names several times."""

    def __init__(self, tasks: Sequence[Task], order: Sequence[int]) -> None:
        self._contexts = [Context(task, tasks[task].values, NEVER) for task in order]

    def at(self, step: int, draw: float) -> Context:
        """The task of the episode."""
        return self._contexts[int(draw * len(self._contexts))]


class Blending(RandomPerEpisode):
    """Episodes are of one environment or the next, and more and more often of the latter.

    It is to environments that cannot be changed into each other what `Drifting` is to physics.
    """

    def __init__(self, tasks: Sequence[Task], total: int) -> None:
        super().__init__(tasks, range(len(tasks)))
        self._pace = (len(tasks) - 1) / max(total - 1, 1)

    def at(self, step: int, draw: float) -> Context:
        """The task of the episode that begins at this step."""
        position = step * self._pace
        index = int(position)
        return self._contexts[index + int(draw < position - index)]
