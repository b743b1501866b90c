"""Turns the assumptions of a reinforcement node into behaviour: phases, environments and scores."""

from functools import partial
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from redwood.core.checks import Options
from redwood.core.parts import flat
from redwood.core.seeding import derive_seed, generator, preserved_random_state
from redwood.core.state import State
from redwood.core.user_warnings import warn
from redwood.core.workers import rank, split_evenly, world_size
from redwood.settings.assumptions import Assumptions, Context, TaskIds
from redwood.settings.config import describe_options
from redwood.settings.eval_tasks import EvalTasks
from redwood.settings.protocols import FixedStream, Learner
from redwood.settings.rl.actions import random_actions
from redwood.settings.rl.budget import OnlineReturn, Steps
from redwood.settings.rl.environment import HiddenEnvironment, TaskEnvironment, hide
from redwood.settings.rl.environments import EnvironmentMaker
from redwood.settings.rl.evaluation import Episode, Predict, TestedTask, play_episodes
from redwood.settings.rl.outcomes import Evaluations, Outcomes, Summary, gather_outcomes, summarise
from redwood.settings.rl.periodic_evaluation import PeriodicEvaluation
from redwood.settings.rl.phase import MakeEnvironment, ReinforcementPhase
from redwood.settings.rl.physics import Physics
from redwood.settings.rl.reference import Wanted, read_reference
from redwood.settings.rl.results import Reference, ReturnResults
from redwood.settings.rl.tasks import Blending, Drifting, Fixed, RandomPerEpisode, Schedule, Switching, Task
from redwood.settings.rl.types import Space
from redwood.settings.scores.results import Results
from redwood.settings.scores.task_scores import Scores


class StreamOptions(Options, Protocol):
    """The options of a setting that its stream follows; `ReinforcementSetting` describes them."""

    seed: int
    steps_per_task: int
    eval_every: int
    eval_tasks: EvalTasks
    max_episode_steps: int
    test_episodes: int
    reference: str

    @property
    def dataset_name(self) -> str:
        """The names of the environments."""

    @property
    def assumptions(self) -> Assumptions:
        """The promises of the setting."""

    @property
    def observation_space(self) -> Space:
        """The space of one observation."""

    @property
    def action_space(self) -> Space:
        """The space of one action."""


class ReinforcementStream(FixedStream):
    """The environments of one run: phases for training, and episodes for scores."""

    first_task: ClassVar[int] = 0
    results_type: type[Results] = ReturnResults

    def __init__(
        self,
        setting: StreamOptions,
        makers: list[EnvironmentMaker],
        tasks: list[Task],
        order: list[int],
    ) -> None:
        """Arrange the tasks as `setting` promises.

        Args:
            setting: The options.
            makers: Make the environments.
            tasks: The tasks, each of one of the environments.
            order: The task of each phase; a task may come back.
        """
        self._setting, self._makers, self._tasks, self._order = setting, makers, tasks, order
        self._promised = setting.assumptions
        self._reference: Reference | None = None  # read when the method is known
        self._periodic: PeriodicEvaluation | None = None  # of the phase that is trained
        self.num_tasks = len(tasks)
        one_phase = self._promised.context == Context.STATIONARY or not self._promised.boundaries
        self.num_phases = 1 if one_phase else len(order)

    def phase(self, index: int, learner: Learner | None = None) -> ReinforcementPhase:
        """Build one phase for this worker."""
        shows_task = self._promised.task_ids >= TaskIds.TRAINING and self.num_phases == len(self._order)
        task_id = self._order[index] if shows_task else None
        steps = self._setting.steps_per_task // world_size()
        if self.num_phases < len(self._order):
            steps *= len(self._order)
        self._periodic = self._periodic_evaluation(index, steps, learner)
        return ReinforcementPhase(index, task_id, steps, self._training(index), self._periodic)

    def _periodic_evaluation(self, index: int, steps: int, learner: Learner | None) -> PeriodicEvaluation | None:
        """Return the evaluation of the method inside a phase; this worker takes `steps` steps of the phase."""
        every = self._setting.eval_every // world_size()
        if not every or learner is None:
            return None
        seen = not self._setting.eval_tasks.ahead
        play = partial(self._play_tested, learner, self.tasks_seen(index) if seen else self.num_tasks)
        return PeriodicEvaluation(play, every, steps, untrained=index == 0)

    def _training(self, index: int) -> MakeEnvironment:
        """Return the maker of a phase's training environment; it holds no test episodes."""
        schedule, tasks = self._schedule(index)
        used = sorted({task.environment for task in tasks.values()})
        makes = [self._makers[number].make for number in used]
        environments = {number: used.index(task.environment) for number, task in tasks.items()}
        limits = [self._limits[number] for number in used]
        seed, show_ids = self._setting.seed, self._promised.task_ids >= TaskIds.TRAINING
        hides_context, worker = not self._promised.boundaries, rank()  # here: a copy may be made in another process

        has_all = self._promised.context == Context.STATIONARY
        by_task = [Fixed(number, self._tasks) for number in range(self.num_tasks)] if has_all else []

        def make(
            copy: int, steps: Steps, online: OnlineReturn, *, each_task: bool = False
        ) -> TaskEnvironment | HiddenEnvironment:
            env = TaskEnvironment(
                makes,
                environments,
                by_task[copy % len(by_task)] if each_task and by_task else schedule,
                limits=limits,
                seed=derive_seed(seed, "training", index, worker, copy),
                budget=steps,
                show_ids=show_ids,
                online=online,
            )
            return hide(env) if hides_context else env

        return make

    def _schedule(self, index: int) -> tuple[Schedule, dict[int, Task]]:
        """Return the schedule of a phase, and the tasks that its numbers stand for."""
        if self._promised.context == Context.STATIONARY:
            return RandomPerEpisode(self._tasks, self._order), dict(enumerate(self._tasks))
        if self._promised.boundaries:
            task = self._order[index]
            return Fixed(task, self._tasks), {task: self._tasks[task]}
        # No id is shown here, so the schedule numbers the places in the stream.
        met, steps = [self._tasks[task] for task in self._order], self._setting.steps_per_task // world_size()
        if self._promised.context == Context.DISCRETE:
            return Switching(met, steps), dict(enumerate(met))
        drift = Blending if len(self._makers) > 1 else Drifting
        return drift(met, steps * len(met)), dict(enumerate(met))

    @property
    def _limits(self) -> list[int]:
        return [self._setting.max_episode_steps or maker.limit or 0 for maker in self._makers]

    def check(self, method: Learner) -> None:
        """Read the single-task reference of the method, if one is named.

        Raises:
            InvalidOptionError: If there is none of this agent and of these tasks.
        """
        self._tell_empty_curves()
        if self._setting.reference:
            wanted = Wanted(
                method=method.reference(),
                agent_options=flat(describe_options(method)),
                setting_options=flat(describe_options(self._setting)),
                dataset=self._setting.dataset_name,
                physics=self.drawn()["task_physics"],
                read_default=self._read_default,
            )
            self._reference = read_reference(Path(self._setting.reference), wanted)

    def _tell_empty_curves(self) -> None:
        steps = self._setting.steps_per_task * (len(self._order) if self.num_phases < len(self._order) else 1)
        if self._setting.eval_every >= steps:
            warn(
                f"--eval_every {self._setting.eval_every} has no point inside a phase, which has {steps} steps; use a "
                "smaller one for curves."
            )

    def _read_default(self, environment: str, name: str) -> float | None:
        """Return a number of an unchanged environment; None if the stream has no such environment."""
        for maker in self._makers:
            if maker.name == environment:
                env = maker.make()
                physics = Physics(env)
                value = physics.read(name) if name in physics.names else None
                env.close()
                return value
        return None

    def fingerprint(self) -> State:
        """Return environment and physics of each task, and the spaces."""
        told: dict[str, object] = {
            f"task {number}": f"{self._makers[task.environment].name} {task.values}"
            for number, task in enumerate(self._tasks)
        }
        spaces = {"observations": self._setting.observation_space, "actions": self._setting.action_space}
        return told | {name: str(space) for name, space in spaces.items()} | {"episode limits": list(self._limits)}

    def drawn(self) -> State:
        """Return the physics of each task, with the name of its environment if there are several."""
        several = len(self._makers) > 1
        names = [{"env": self._makers[task.environment].name} if several else {} for task in self._tasks]
        return {"task_physics": [name | task.values for name, task in zip(names, self._tasks, strict=True)]}

    def phase_over(self, index: int, method: Learner, scores: Scores) -> State | None:
        """Return the episodes after the phase, and the points of the curve inside it; every worker has to call it."""
        found = Evaluations()
        ended: Summary | None = None
        if scores.details is not None:
            outcomes: Outcomes = scores.details["outcomes"]
            found.add_phase(outcomes, kept=[self._keeps_episodes(task) for task in range(self.num_tasks)])
            ended = summarise(outcomes)
        if self._periodic is not None and ended is not None:
            length = self._setting.steps_per_task * (len(self._order) if self.num_phases < len(self._order) else 1)
            for spent, own in self._periodic.points:
                found.add_point(index * length + spent * world_size(), summarise(gather_outcomes(own)))
            found.add_point((index + 1) * length, ended)
        return None if ended is None else found.to_dict()

    def _keeps_episodes(self, task: int) -> bool:
        """True if results keep each test episode of a task. Episodes that are single samples are not kept."""
        return self._makers[self._tasks[task].environment].n_test_episodes is None

    def result_fields(self, details: list[dict[str, object]]) -> State:
        """Return the single-task reference, the task of each phase if tasks come back, and the episodes."""
        comes_back = self.num_phases > 1 and self.num_phases > self.num_tasks
        found = Evaluations()
        for phase in details:
            found.extend(Evaluations.from_dict(phase))
        return {
            "reference": self._reference,
            "phase_tasks": list(self._order) if comes_back else None,
            "evaluations": found if details else None,
        }

    def baseline(self, method: Learner) -> list[float]:
        """Return the mean return of random actions on each task, which is 0 on the scale of normalised returns."""
        space, choice = self._setting.action_space, generator(self._setting.seed, "random actions", rank())

        def act(x: Tensor, task_id: Tensor | None) -> Tensor:
            return random_actions(space, len(x), choice)

        played = gather_outcomes(self._play(act, [[task] for task in range(self.num_tasks)]))
        return [sum(outcome.value for outcome in task) / len(task) for task in played]

    def tasks_seen(self, phase: int) -> int:
        """Return the number of tasks that are trained by the end of a phase."""
        return self.num_tasks if self.num_phases == 1 else max(self._order[: phase + 1]) + 1

    def evaluate(self, method: Learner, num_tasks: int | None = None) -> Scores:
        """Return the mean return of `method` on the first `num_tasks` tasks; the episodes are always the same.

        Workers share the episodes out and gather the outcomes. Where ids are hidden, all tasks are played together.
        """
        outcomes = gather_outcomes(self._play_tested(method, self.num_tasks if num_tasks is None else num_tasks))
        return Scores(summarise(outcomes).mean, details={"outcomes": outcomes})

    def _play_tested(self, method: Learner, num_tasks: int) -> Outcomes:
        """Play this worker's test episodes of the first tasks."""
        tasks = range(num_tasks)
        together = [[task] for task in tasks] if self._promised.task_ids >= TaskIds.TEST else [list(tasks)]
        with torch.no_grad():
            return self._play(method.predict, together)

    def _play(self, predict: Predict, groups: list[list[int]]) -> Outcomes:
        """Return how this worker's episodes of each task went (T, E); the tasks of one group are played at once."""
        played: Outcomes = [[] for _ in range(self.num_tasks)]
        with preserved_random_state():
            for group in groups:
                tested = [self._tested(task) for task in group]
                if not any(test.scored for test in tested):
                    continue
                seed = derive_seed(self._setting.seed, "test order", rank())
                tell = self._promised.task_ids >= TaskIds.TEST
                for task, outcomes in zip(group, play_episodes(predict, tested, tell=tell, seed=seed), strict=True):
                    played[task] = outcomes
        return played

    def _tested(self, task: int) -> TestedTask:
        """Return the episodes by which this worker scores a task."""
        episodes = self._episodes(task)
        mine = episodes[split_evenly(len(episodes), rank(), world_size())]
        return TestedTask(task, partial(self._test_environment, task), mine, episodes)

    def _episodes(self, task: int) -> list[Episode]:
        """Return seed and options of the episodes that score a task, of all workers."""
        given = self._makers[self._tasks[task].environment].n_test_episodes
        seeds = (
            derive_seed(self._setting.seed, "test episode", task, episode) % 2**31
            for episode in range(given or self._setting.test_episodes)
        )
        return [(seed, None if given is None else {"episode": episode}) for episode, seed in enumerate(seeds)]

    def _test_environment(self, task: int) -> TaskEnvironment:
        number = self._tasks[task].environment
        maker = self._makers[number]
        return TaskEnvironment(
            [maker.make_test or maker.make],
            {task: 0},
            Fixed(task, self._tasks),
            limits=[self._limits[number]],
            seed=0,
            show_ids=self._promised.task_ids >= TaskIds.TEST,
        )
