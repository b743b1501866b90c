"""The tasks of a reinforcement stream, and the schedules by which an environment goes from task to task."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from typing_extensions import override

from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed
from redwood.settings.rl.environments import EnvironmentMaker
from redwood.settings.rl.physics import Physics

FACTORS = (0.1, 10.0)
UNCHANGED = "default"


@dataclass(frozen=True)
class Task:
    """A task: an environment and its physics.

    Attributes:
        environment: Index of its environment among the environments of the stream.
        values: Its physics by name; tasks of one environment have the same names.
    """

    environment: int
    values: dict[str, float] = field(default_factory=dict)


def sample_tasks(maker: EnvironmentMaker, n: int, attributes: Sequence[str], noise: float, seed: int) -> list[Task]:
    """Draw the physics of `n` tasks: each attribute's default times a factor.

    Factors are normally distributed around 1, and clipped to `FACTORS`. The first task is the unchanged environment.
    Task i depends on `seed` and i alone.

    Args:
        maker: The environment.
        n: Number of tasks.
        attributes: Names of the numbers to change; if empty, the numbers that redwood knows of this environment.
        noise: Standard deviation of the factors.
        seed: Decides the factors.

    Raises:
        InvalidOptionError: If the environment lacks an attribute, or nothing is known of it.
    """
    env = maker.make()
    physics = Physics(env)
    for name in attributes:
        physics.check(name, "attributes", maker.name)
    names = tuple(attributes) or physics.known
    if not names and n > 1:
        raise InvalidOptionError(
            f"--attributes is missing: redwood knows no physics of {maker.name} that tasks may change; "
            f"name some of {', '.join(physics.names) or '(it has no numbers)'}, or use --nb_tasks 1."
        )
    defaults = {name: physics.read(name) for name in names}
    env.close()
    tasks = [Task(0, defaults)]
    for index in range(1, n):
        generator = np.random.default_rng(derive_seed(seed, "physics", index))
        factors = np.clip(generator.normal(1.0, noise, len(names)), *FACTORS)
        values = {name: defaults[name] * float(factor) for name, factor in zip(names, factors, strict=True)}
        tasks.append(Task(0, _as_set(values, defaults)))
    return tasks


def given_tasks(maker: EnvironmentMaker, texts: Sequence[str]) -> list[Task]:
    """Read tasks from their texts on the command line: `default`, or `length=2.0,gravity=20`.

    Raises:
        InvalidOptionError: If a text is not of this form, or the environment lacks an attribute.
    """
    changes = [_parse(text) for text in texts]
    env = maker.make()
    physics = Physics(env)
    names = list(dict.fromkeys(name for change in changes for name in change))
    for name in names:
        physics.check(name, "tasks", maker.name)
    defaults = {name: physics.read(name) for name in names}
    env.close()
    for text, change in zip(texts, changes, strict=True):
        for name, value in change.items():
            if _is_size(name) and value <= 0:
                raise InvalidOptionError(f"--tasks {text}: {name} is a length or a mass, which has to be above 0.")
    return [Task(0, defaults | _as_set(change, defaults)) for change in changes]


def _is_size(name: str) -> bool:
    """True if a number is a length, a mass or a moment of inertia: an environment divides by these."""
    return name in ("m", "l") or any(word in name.lower() for word in ("mass", "length", "moi"))


def _as_set(values: dict[str, float], defaults: dict[str, float]) -> dict[str, float]:
    """Return the values that the environment will have: where it holds whole numbers, they are rounded."""
    return {name: round(value) if isinstance(defaults[name], int) else value for name, value in values.items()}


def without_repeats(met: Sequence[Task]) -> tuple[list[Task], list[int]]:
    """Number the tasks of a stream as they come: a b a b has the tasks a b, in the order 0 1 0 1."""
    tasks: list[Task] = []
    for task in met:
        if task not in tasks:
            tasks.append(task)
    return tasks, [tasks.index(task) for task in met]


def _parse(text: str) -> dict[str, float]:
    if text == UNCHANGED:
        return {}
    change = {}
    for part in text.split(","):
        name, sign, value = part.partition("=")
        try:
            change[name.strip()] = number = float(value)
        except ValueError:
            number = math.nan
        if not sign or not math.isfinite(number):
            raise InvalidOptionError(
                f"--tasks {text} has to be {UNCHANGED}, or changes of the physics such as length=2.0,gravity=20."
            )
    return change


# Schedules.

NEVER = 2**62


class ActiveTask(NamedTuple):
    """The task and the physics of an environment at some step.

    Attributes:
        task: The task; in a smooth drift, the last task that was left.
        values: The physics; where they drift, extrapolated to step 0.
        until: The first step at which this may have changed.
        slopes: Change of the physics with each step, where they drift.
    """

    task: int
    values: dict[str, float]
    until: int
    slopes: dict[str, float] | None = None


class Schedule(ABC):
    """Says which task is active at each step of a phase; steps of all copies count together, from 0."""

    @abstractmethod
    def at(self, step: int, draw: float) -> ActiveTask:
        """Return the task of a step.

        Args:
            step: Number of the step in the phase.
            draw: A number from [0, 1), drawn when an episode starts, for schedules that draw its task.
        """


class Fixed(Schedule):
    """One task in all steps."""

    def __init__(self, task: int, tasks: Sequence[Task]) -> None:
        self._active = ActiveTask(task, tasks[task].values, NEVER)

    @override
    def at(self, step: int, draw: float) -> ActiveTask:
        return self._active


class Switching(Schedule):
    """One task after the other, each for the same number of steps."""

    def __init__(self, tasks: Sequence[Task], steps_per_task: int) -> None:
        ends = [*((index + 1) * steps_per_task for index in range(len(tasks) - 1)), NEVER]
        self._active = [
            ActiveTask(index, task.values, end) for index, (task, end) in enumerate(zip(tasks, ends, strict=True))
        ]
        self._steps = steps_per_task

    @override
    def at(self, step: int, draw: float) -> ActiveTask:
        return self._active[min(step // self._steps, len(self._active) - 1)]


class Drifting(Schedule):
    """The physics move from task to task in straight lines, a little at every step.

    The first step has the physics of the first task, the last step the physics of the last task.
    """

    def __init__(self, tasks: Sequence[Task], total: int) -> None:
        self._pace = (len(tasks) - 1) / max(total - 1, 1)
        self._active = [self._line(index, *ends) for index, ends in enumerate(pairwise([*tasks, tasks[-1]]))]

    @override
    def at(self, step: int, draw: float) -> ActiveTask:
        return self._active[int(step * self._pace)]

    def _line(self, index: int, here: Task, there: Task) -> ActiveTask:
        changes = {name: there.values[name] - value for name, value in here.values.items()}
        begin = {name: value - index * changes[name] for name, value in here.values.items()}
        slopes = {name: change * self._pace for name, change in changes.items()}
        return ActiveTask(index, begin, math.ceil((index + 1) / self._pace) if self._pace else NEVER, slopes)


class RandomPerEpisode(Schedule):
    """Each episode has a task that is drawn from `order`, where a task may stand several times."""

    def __init__(self, tasks: Sequence[Task], order: Sequence[int]) -> None:
        self._active = [ActiveTask(task, tasks[task].values, NEVER) for task in order]

    @override
    def at(self, step: int, draw: float) -> ActiveTask:
        return self._active[int(draw * len(self._active))]


class Blending(RandomPerEpisode):
    """Each episode is of one environment or of the next, and more and more often of the next.

    It stands in for `Drifting` where environments cannot change into each other.
    """

    def __init__(self, tasks: Sequence[Task], total: int) -> None:
        super().__init__(tasks, range(len(tasks)))
        self._pace = (len(tasks) - 1) / max(total - 1, 1)

    @override
    def at(self, step: int, draw: float) -> ActiveTask:
        position = step * self._pace
        index = int(position)
        return self._active[index + int(draw < position - index)]
