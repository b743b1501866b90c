"""Settings in which an environment answers actions with rewards."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

import gymnasium

from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.settings.assumptions import Range
from redwood.settings.base import Setting
from redwood.settings.rl.actions import check_spaces
from redwood.settings.rl.bridge import PREFIX, makers_of
from redwood.settings.rl.environments import EnvironmentMaker, find_environment
from redwood.settings.rl.stream import ReinforcementStream
from redwood.settings.rl.tasks import Task, given_tasks, sample_tasks, without_repeats
from redwood.settings.supervised import SupervisedSetting

N_TASKS = 3


@dataclass
class ReinforcementSetting(Setting, rewards=True, passes=Range(1, 1)):
    """A stream of environments; a budget of steps makes it single-pass by nature.

    From Python `env` may also be a function that makes an environment, a list of names and functions, or a supervised
    setting, whose tasks are then seen as environments (see `redwood.settings.rl.bridge`).
    """

    passes: ClassVar[int] = 1

    env: Any = "CartPole-v1"  # gymnasium name, file.py:function, module:Env-v0; a,b,c: one per task; supervised:DATASET
    nb_tasks: int | None = None  # number of tasks (default: 3, or one for each environment or each of --tasks)
    steps_per_task: int = 10_240  # environment steps that each task may be trained for, over all workers
    attributes: list[str] = field(default_factory=list)  # physics that tasks change (default: what is known of env)
    task_noise: float = 0.2  # standard deviation of the factors by which tasks change the physics
    tasks: list[str] = field(default_factory=list)  # each task's physics, such as: default length=2,gravity=20
    max_episode_steps: int = 0  # steps after which an episode is cut off (0: the environment's own limit)
    test_episodes: int = 10  # episodes that each task is scored by
    reference: str = ""  # folder of a run of METHOD+scratch, for normalised returns and forward transfer

    def __post_init__(self) -> None:
        """Fill in what the node implies, and refuse what contradicts it."""
        super().__post_init__()
        check_range(self, "steps_per_task", 1)
        check_range(self, "task_noise", 0)
        check_range(self, "max_episode_steps", 0)
        check_range(self, "test_episodes", 1)
        if self.nb_tasks is not None:
            check_range(self, "nb_tasks", 1)
        if self.steps_per_task % self.workers:
            raise InvalidOptionError(
                f"--steps_per_task {self.steps_per_task} cannot be shared out evenly to --workers {self.workers}; "
                "use a multiple."
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
        """Whether each task has an environment of its own."""
        if isinstance(self.env, str):
            return "," in self.env or self.env.startswith(PREFIX)
        return isinstance(self.env, SupervisedSetting | Sequence)

    @property
    def dataset_name(self) -> str:
        """What results are filed under: the name of the environment, or of all."""
        if isinstance(self.env, str):
            return self.env
        if isinstance(self.env, SupervisedSetting):
            return f"{PREFIX}{self.env.dataset_name}"
        parts = self.env if isinstance(self.env, Sequence) else [self.env]
        return ",".join(part if isinstance(part, str) else getattr(part, "__name__", "environment") for part in parts)

    @cached_property
    def _made(self) -> tuple[list[EnvironmentMaker], list[Task], list[int]]:
        """The environments, the tasks, and which of them are met one after the other."""
        self.check_not_a_view("The stream")
        makers = self._makers()
        self._check_makers(makers)
        if self._gives_environments:
            if self.nb_tasks not in (None, len(makers)):
                raise InvalidOptionError(
                    f"--nb_tasks {self.nb_tasks} contradicts --env, which has {len(makers)} environments; leave it out."
                )
            return makers, [Task(index) for index in range(len(makers))], list(range(len(makers)))
        if self.tasks:
            tasks, order = without_repeats(given_tasks(makers[0], self.tasks))
            if self.nb_tasks not in (None, len(tasks)):
                raise InvalidOptionError(
                    f"--nb_tasks {self.nb_tasks} contradicts --tasks, which has {len(tasks)}; leave it out."
                )
            return makers, tasks, order
        n = self.nb_tasks or N_TASKS
        return makers, sample_tasks(makers[0], n, self.attributes, self.task_noise, self.seed), list(range(n))

    def _makers(self) -> list[EnvironmentMaker]:
        if isinstance(self.env, SupervisedSetting):
            return makers_of(self.env)
        if isinstance(self.env, str) and self.env.startswith(PREFIX):
            from redwood.settings.tree import ClassIncrementalSetting

            dataset = self.env.removeprefix(PREFIX)
            return makers_of(ClassIncrementalSetting(seed=self.seed, dataset=dataset, nb_tasks=self.nb_tasks))
        if self._gives_environments:
            return [find_environment(part) for part in (self.env.split(",") if isinstance(self.env, str) else self.env)]
        return [find_environment(self.env)]

    def _check_makers(self, makers: list[EnvironmentMaker]) -> None:
        first: Any = None
        for maker in makers:
            env = maker.make()
            check_spaces(maker.name, env)
            first = first or (maker.name, env.observation_space, env.action_space)
            if (env.observation_space, env.action_space) != first[1:]:
                raise InvalidOptionError(
                    f"--env: tasks share their observations and actions, but {maker.name} has {env.observation_space} "
                    f"and {env.action_space}, and {first[0]} {first[1]} and {first[2]}; choose others."
                )
            if not (self.max_episode_steps or maker.limit):
                raise InvalidOptionError(
                    f"--max_episode_steps is missing: episodes of {maker.name} have no limit of their own; give one."
                )
            env.close()

    @cached_property
    def _spaces(self) -> tuple[gymnasium.Space[Any], gymnasium.Space[Any]]:
        env = self._made[0][0].make()
        env.close()
        return env.observation_space, env.action_space

    @property
    def observation_space(self) -> gymnasium.Space[Any]:
        """What one observation looks like; the same for all tasks."""
        return self._spaces[0]

    @property
    def action_space(self) -> gymnasium.Space[Any]:
        """What an action looks like; the same for all tasks."""
        return self._spaces[1]

    @cached_property
    def num_tasks(self) -> int:
        """Number of tasks; None for a method where boundaries are not announced."""
        return len(self._made[1])

    @property
    def order(self) -> list[int]:
        """The tasks in the order in which they are met."""
        return self._made[2]

    def open_stream(self) -> ReinforcementStream:
        """Make the tasks, and cut them into phases."""
        return ReinforcementStream(self, *self._made)

    def for_method(self) -> Self:
        """A copy with the spaces and the options, without the environments and without what the node hides."""
        _ = self.num_tasks
        view = super().for_method()
        known: dict[str, Any] = {"reference": "", "_spaces": copy.deepcopy(self._spaces)}
        if view.env is not None:
            known["env"] = self.dataset_name
        if self.assumptions.boundaries:
            known["nb_tasks"] = self.num_tasks
        vars(view).update(known)
        return view

    def __getstate__(self) -> dict[str, Any]:
        """All but the environments, which are made anew where they are needed; a method's view never has them."""
        return {name: value for name, value in self.__dict__.items() if name != "_made"}

    def hidden_fields(self) -> frozenset[str]:
        """Where boundaries are not announced, neither is how many there are or what comes next."""
        if self.assumptions.boundaries:
            return frozenset()
        hidden = frozenset({"num_tasks", "nb_tasks", "steps_per_task", "attributes", "task_noise", "tasks"})
        return hidden | {"env"} if self._gives_environments else hidden

    def described(self) -> dict[str, Any]:
        """The options as results keep them."""
        from redwood.settings.config import describe_options

        return describe_options(self)
