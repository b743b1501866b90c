"""The tasks of a reinforcement stream: one environment with changed physics, or one environment each."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed
from redwood.settings.rl.environments import EnvironmentMaker
from redwood.settings.rl.physics import Physics

FACTORS = (0.1, 10.0)
UNCHANGED = "default"


@dataclass(frozen=True)
class Task:
    """One context of the stream.

    Attributes:
        environment: Index of its environment among those of the stream.
        values: Its physics; tasks of one environment name the same attributes.
    """

    environment: int
    values: dict[str, float] = field(default_factory=dict)


def sample_tasks(maker: EnvironmentMaker, n: int, attributes: Sequence[str], noise: float, seed: int) -> list[Task]:
    """Draw the physics of `n` tasks: each attribute's default times a factor.

    Factors are normally distributed around 1, and clipped to `FACTORS`. The first task is the environment as it is, and
    task i depends on `seed` and i alone.

    Args:
        maker: The environment.
        n: Number of tasks.
        attributes: What to change; if empty, what is known of the environment.
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
            f"--attributes is missing: of {maker.name} it is not known what its tasks may change; "
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
    """Tasks as they are written on the command line: `default`, or `length=2.0,gravity=20`; the rest is unchanged.

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
    return [Task(0, defaults | _as_set(change, defaults)) for change in changes]


def _as_set(values: dict[str, float], defaults: dict[str, float]) -> dict[str, float]:
    """The values that the environment will have: where it holds whole numbers, they are rounded."""
    return {name: round(value) if isinstance(defaults[name], int) else value for name, value in values.items()}


def without_repeats(met: Sequence[Task]) -> tuple[list[Task], list[int]]:
    """The tasks of a stream, numbered as they come, and the number of each that it meets: a b a b is a b, 0 1 0 1."""
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
