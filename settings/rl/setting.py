"""Settings in which an environment answers actions with rewards."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self

from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.settings.assumptions import Range
from redwood.settings.base import Setting
from redwood.settings.rl.actions import check_spaces
from redwood.settings.rl.bridge import PREFIX, makers_of
from redwood.settings.rl.environments import EnvironmentMaker, find_environment
from redwood.settings.rl.stream import ReinforcementStream
from redwood.settings.rl.tasks import Task, given_tasks, sample_tasks, without_repeats
from redwood.settings.rl.types import Space
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import ClassIncrementalSetting

NUM_TASKS = 3


class _Made(NamedTuple):
    """The environments of a setting, its tasks, and the task of each phase."""

    makers: list[EnvironmentMaker]
    tasks: list[Task]
    order: list[int]


@dataclass
class ReinforcementSetting(Setting, rewards=True, passes=Range(1, 1)):
    """A stream of environments, of which each task has a budget of steps; so the stream has one pass.

    From Python `env` may also be a function that makes an environment, a list of names and functions, or a supervised
    setting, whose tasks become environments (see `redwood.settings.rl.bridge`).
    """

    passes: ClassVar[int] = 1

    env: Any = "CartPole-v1"  # gymnasium name, file.py:function, module:Env-v0; a,b,c: one per task; supervised:DATASET
    nb_tasks: int | None = None  # number of tasks (default: 3, or one for each environment or each of --tasks)
    steps_per_task: int = 10_240  # environment steps that each task may be trained for, over all workers
    attributes: list[str] = field(default_factory=list)  # physics that tasks change (default: the known physics of env)
    task_noise: float = 0.2  # standard deviation of the factors by which tasks change the physics
    tasks: list[str] = field(default_factory=list)  # each task's physics, such as: default length=2,gravity=20
    max_episode_steps: int = 0  # steps after which an episode is ended (0: the environment's own limit)
    test_episodes: int = 10  # test episodes for each task
    eval_every: int = 0  # environment steps between two tests of all tasks inside a phase, for curves (0: none)
    reference: str = ""  # run of AGENT+scratch, or a folder of them, for normalised returns and forward transfer

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "steps_per_task", 1)
        check_range(self, "task_noise", 0)
        check_range(self, "max_episode_steps", 0)
        check_range(self, "test_episodes", 1, 1_000_000)
        check_range(self, "eval_every", 0)
        if self.nb_tasks is not None:
            check_range(self, "nb_tasks", 1)
        if self.steps_per_task % self.workers:
            raise InvalidOptionError(
                f"--steps_per_task {self.steps_per_task} cannot be shared out evenly to --workers {self.workers}; "
                "use a multiple."
            )
        if self.eval_every % self.workers:
            raise InvalidOptionError(
                f"--eval_every {self.eval_every} cannot be shared out evenly to --workers {self.workers}; "
                "use a multiple."
            )
        if self.eval_every and not self.eval_tasks.tests:
            raise InvalidOptionError(
                f"--eval_every {self.eval_every} tests inside phases, but --eval_tasks is none; leave one out."
            )
        if isinstance(self.env, str) and "," in self.env:
            self.env = ",".join(self._parts())
            if "" in self._parts():
                raise InvalidOptionError(
                    f"--env {self.env} names no environment at place {self._parts().index('') + 1} of its list; remove "
                    "a comma."
                )
        for name in ("attributes", "tasks"):
            if getattr(self, name) and self._gives_environments:
                raise InvalidOptionError(
                    f"--{name} changes one environment, but --env has tasks of its own; leave it out."
                )
        if self.tasks and self.attributes:
            raise InvalidOptionError("--tasks says what each task changes; leave --attributes out.")

    @property
    def _gives_environments(self) -> bool:
        """True if each task has an environment of its own."""
        if isinstance(self.env, str):
            return "," in self.env or self.env.startswith(PREFIX)
        return isinstance(self.env, SupervisedSetting | Sequence)

    @property
    def dataset_name(self) -> str:
        """The name of the environment, or the names of all; results are filed under it."""
        if isinstance(self.env, str):
            return self.env
        if isinstance(self.env, SupervisedSetting):
            return f"{PREFIX}{self.env.dataset_name}"
        parts = self.env if isinstance(self.env, Sequence) else [self.env]
        return ",".join(part if isinstance(part, str) else getattr(part, "__name__", "environment") for part in parts)

    @cached_property
    def _made(self) -> _Made:
        self.check_not_a_view("The stream")
        makers = self._makers()
        self._check_makers(makers)
        if self._gives_environments:
            if self.nb_tasks not in (None, len(makers)):
                raise InvalidOptionError(
                    f"--nb_tasks {self.nb_tasks} contradicts --env, which has {len(makers)} environments; leave it out."
                )
            return _Made(makers, [Task(index) for index in range(len(makers))], self._visits(len(makers)))
        if self.tasks:
            tasks, order = without_repeats(given_tasks(makers[0], self.tasks))
            if self.nb_tasks not in (None, len(tasks)):
                raise InvalidOptionError(
                    f"--nb_tasks {self.nb_tasks} contradicts --tasks, which has {len(tasks)}; leave it out."
                )
            return _Made(makers, tasks, order)
        n = self.nb_tasks or NUM_TASKS
        tasks = sample_tasks(makers[0], n, self.attributes, self.task_noise, self.seed)
        return _Made(makers, tasks, list(range(n)))

    def _makers(self) -> list[EnvironmentMaker]:
        if isinstance(self.env, SupervisedSetting):
            return makers_of(self.env)
        if isinstance(self.env, str) and self.env.startswith(PREFIX):
            dataset = self.env.removeprefix(PREFIX)
            return makers_of(ClassIncrementalSetting(seed=self.seed, dataset=dataset, nb_tasks=self.nb_tasks))
        if self._gives_environments:
            return [find_environment(part) for part in dict.fromkeys(self._parts())]
        return [find_environment(self.env)]

    def _parts(self) -> list[Any]:
        """The environments as they come, one for each phase."""
        return [part.strip() for part in self.env.split(",")] if isinstance(self.env, str) else list(self.env)

    def _visits(self, n: int) -> list[int]:
        """The environment of each phase, of `n`: one that is named twice comes back."""
        if isinstance(self.env, SupervisedSetting) or (isinstance(self.env, str) and self.env.startswith(PREFIX)):
            return list(range(n))
        parts = self._parts()
        different = list(dict.fromkeys(parts))
        return [different.index(part) for part in parts]

    def _check_makers(self, makers: list[EnvironmentMaker]) -> None:
        first: tuple[Space, Space] | None = None
        for maker in makers:
            env = maker.make()
            check_spaces(maker.name, env)
            first = first or (env.observation_space, env.action_space)
            if (env.observation_space, env.action_space) != first:
                raise InvalidOptionError(
                    f"--env: tasks share their observations and actions, but {maker.name} has {env.observation_space} "
                    f"and {env.action_space}, and {makers[0].name} {first[0]} and {first[1]}; choose others."
                )
            if not (self.max_episode_steps or maker.limit):
                raise InvalidOptionError(
                    f"--max_episode_steps is missing: {maker.name} does not tell after how many steps an episode ends; "
                    "give a number."
                )
            env.close()

    @cached_property
    def _spaces(self) -> tuple[Space, Space]:
        env = self._made.makers[0].make()
        env.close()
        return env.observation_space, env.action_space

    @property
    @override
    def observation_space(self) -> Space:
        """The space of one observation; the same for all tasks."""
        return self._spaces[0]

    @property
    @override
    def action_space(self) -> Space:
        """The space of one action; the same for all tasks."""
        return self._spaces[1]

    @cached_property
    def num_tasks(self) -> int:
        """Number of tasks; None for a method where boundaries are not announced."""
        return len(self._made.tasks)

    @property
    def order(self) -> list[int]:
        """The task of each phase, in the order of the stream."""
        return self._made.order

    @override
    def open_stream(self) -> ReinforcementStream:
        return ReinforcementStream(self, *self._made)

    @override
    def for_method(self) -> Self:
        """Return a copy with the spaces and the options, without the environments and without hidden fields."""
        _ = self.num_tasks
        view = super().for_method()
        known: dict[str, object] = {"reference": "", "_spaces": copy.deepcopy(self._spaces)}
        if view.env is not None:
            known["env"] = self.dataset_name
        if self.assumptions.boundaries:
            known["nb_tasks"] = self.num_tasks
        vars(view).update(known)
        return view

    def __getstate__(self) -> dict[str, object]:
        """Return the attributes without the environments, which another process makes anew."""
        return {name: value for name, value in self.__dict__.items() if name != "_made"}

    @override
    def hidden_fields(self) -> frozenset[str]:
        """Return the fields that tell the number of tasks or the next tasks, where boundaries are not announced."""
        if self.assumptions.boundaries:
            return frozenset()
        hidden = frozenset({"num_tasks", "nb_tasks", "steps_per_task", "attributes", "task_noise", "tasks"})
        return hidden | {"env"} if self._gives_environments else hidden
