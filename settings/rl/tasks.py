"""The tasks of a reinforcement stream: one environment with changed physics, or one environment each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from redwood.settings.errors import InvalidOptionError
from redwood.settings.rl.environments import EnvironmentMaker
from redwood.settings.rl.physics import Physics
from redwood.settings.seeding import derive_seed

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
