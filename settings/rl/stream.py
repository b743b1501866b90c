"""Interprets the assumptions of a reinforcement node: phases, what an environment shows, how a method is scored."""

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch

from redwood.core.seeding import derive_seed, generator, preserved_random_state
from redwood.core.workers import rank, sum_over_workers, world_size
from redwood.settings.assumptions import Context, TaskIds
from redwood.settings.protocols import Learner, Scores, nan_to_none
from redwood.settings.results import Results
from redwood.settings.rl.actions import random_actions
from redwood.settings.rl.budget import OnlineReturn, Steps
from redwood.settings.rl.environment import HiddenEnvironment, TaskEnvironment, hide
from redwood.settings.rl.environments import EnvironmentMaker
from redwood.settings.rl.evaluation import Episode, Predict, TestedTask, total_returns
from redwood.settings.rl.phase import MakeEnvironment, ReinforcementPhase
from redwood.settings.rl.results import ReturnResults, read_reference
from redwood.settings.rl.tasks import Blending, Drifting, Fixed, RandomPerEpisode, Schedule, Switching, Task
from redwood.settings.streams.order import split_evenly

if TYPE_CHECKING:
    from redwood.settings.rl.setting import ReinforcementSetting


class ReinforcementStream:
    """The environments of one run, as phases to train in and episodes to be scored by."""

    results_type: type[Results] = ReturnResults

    def __init__(
        self, setting: "ReinforcementSetting", makers: list[EnvironmentMaker], tasks: list[Task], order: list[int]
    ) -> None:
        """Arrange the tasks as `setting` promises; `order` says which are met one after the other."""
        self._setting, self._makers, self._tasks, self._order = setting, makers, tasks, order
        self._promised = setting.assumptions
        self._reference = read_reference(setting) if setting.reference else None
        self.num_tasks = len(tasks)
        one_phase = self._promised.context == Context.STATIONARY or not self._promised.boundaries
        self.num_phases = 1 if one_phase else len(order)

    def phase(self, index: int) -> ReinforcementPhase:
        """Build one phase for this worker."""
        shows_task = self._promised.task_ids >= TaskIds.TRAINING and self.num_phases == len(self._order)
        task_id = self._order[index] if shows_task else None
        steps = self._setting.steps_per_task // world_size()
        if self.num_phases < len(self._order):
            steps *= len(self._order)
        return ReinforcementPhase(index, task_id, steps, self._training(index))

    def _training(self, index: int) -> MakeEnvironment:
        """What makes the copies of a phase's training environment; test episodes cannot be reached from it."""
        schedule, tasks = self._schedule(index)
        used = sorted({task.environment for task in tasks.values()})
        makes = [self._makers[number].make for number in used]
        environments = {number: used.index(task.environment) for number, task in tasks.items()}
        limits = [self._limits[number] for number in used]
        seed, show_ids = self._setting.seed, self._promised.task_ids >= TaskIds.TRAINING
        hides_context = not self._promised.boundaries

        def make(copy: int, steps: Steps, online: OnlineReturn) -> TaskEnvironment | HiddenEnvironment:
            env = TaskEnvironment(
                makes,
                environments,
                schedule,
                limits=limits,
                seed=derive_seed(seed, "training", index, rank(), copy),
                budget=steps,
                show_ids=show_ids,
                online=online,
            )
            return hide(env) if hides_context else env

        return make

    def _schedule(self, index: int) -> tuple[Schedule, dict[int, Task]]:
        """When which task is on, and what its numbers stand for."""
        if self._promised.context == Context.STATIONARY:
            return RandomPerEpisode(self._tasks, self._order), dict(enumerate(self._tasks))
        if self._promised.boundaries:
            task = self._order[index]
            return Fixed(task, self._tasks), {task: self._tasks[task]}
        # No id is shown here: the places in the stream are numbered.
        met, steps = [self._tasks[task] for task in self._order], self._setting.steps_per_task // world_size()
        if self._promised.context == Context.DISCRETE:
            return Switching(met, steps), dict(enumerate(met))
        drift = Blending if len(self._makers) > 1 else Drifting
        return drift(met, steps * len(met)), dict(enumerate(met))

    @property
    def _limits(self) -> list[int]:
        return [self._setting.max_episode_steps or maker.limit or 0 for maker in self._makers]

    def check(self, method: Learner) -> None:
        """Any method that applies can act."""

    def fingerprint(self) -> dict[str, Any]:
        """The environment and the physics of each task, and the spaces."""
        told: dict[str, Any] = {
            f"task {number}": f"{self._makers[task.environment].name} {task.values}"
            for number, task in enumerate(self._tasks)
        }
        spaces = {"observations": self._setting.observation_space, "actions": self._setting.action_space}
        return told | {name: str(space) for name, space in spaces.items()} | {"episode limits": list(self._limits)}

    def drawn(self) -> dict[str, Any]:
        """The physics of each task, or the name of its environment where it has one of its own."""
        several = len(self._makers) > 1
        names = [{"env": self._makers[task.environment].name} if several else {} for task in self._tasks]
        return {"task_physics": [name | task.values for name, task in zip(names, self._tasks, strict=True)]}

    def result_fields(self) -> dict[str, Any]:
        """The single-task reference, if there is one, and which task each phase trains, if tasks come back."""
        comes_back = self.num_phases > 1 and self.num_phases > self.num_tasks
        return {"reference": self._reference, "phase_tasks": list(self._order) if comes_back else None}

    def baseline(self, method: Learner) -> list[float]:
        """The mean return of random actions on each task, whatever `--eval_tasks`: what normalised scores call 0."""
        space, choice = self._setting.action_space, generator(self._setting.seed, "random actions", rank())

        def act(x: torch.Tensor, task_id: torch.Tensor | None) -> torch.Tensor:
            return random_actions(space, len(x), choice)

        return cast("list[float]", self._score(act, [[task] for task in range(self.num_tasks)]))

    def tasks_seen(self, phase: int) -> int:
        """Those that a phase has trained so far; all at once where one phase holds them."""
        return self.num_tasks if self.num_phases == 1 else max(self._order[: phase + 1]) + 1

    def evaluate(self, method: Learner, num_tasks: int | None = None) -> Scores:
        """The mean return of `method` over episodes of the first `num_tasks` tasks, the same ones each time.

        Workers share the episodes out and add up their returns. Where ids are hidden, all tasks are played together.
        """
        tasks = range(self.num_tasks if num_tasks is None else num_tasks)
        together = [[task] for task in tasks] if self._promised.task_ids >= TaskIds.TEST else [list(tasks)]
        with torch.no_grad():
            return Scores(self._score(method.predict, together))

    def validate(self, method: Learner, phase: int) -> None:
        """Nothing is held out from environments."""

    def _score(self, predict: Predict, together: list[list[int]]) -> list[float | None]:
        """The mean return on each task; `together` says which tasks are played at the same time."""
        sums = torch.zeros(2, self.num_tasks, dtype=torch.float64)
        with preserved_random_state():
            for group in together:
                tested = [self._tested(task) for task in group]
                if not any(test.scored for test in tested):
                    continue
                seed = derive_seed(self._setting.seed, "test order", rank())
                tell = self._promised.task_ids >= TaskIds.TEST
                sums[0, group] = torch.tensor(total_returns(predict, tested, tell=tell, seed=seed), dtype=torch.float64)
                sums[1, group] = torch.tensor([len(test.scored) for test in tested], dtype=torch.float64)
        returns, counts = sum_over_workers(sums)
        return nan_to_none(returns / counts)

    def _tested(self, task: int) -> TestedTask:
        """What this worker scores a task by."""
        episodes = self._episodes(task)
        mine = episodes[split_evenly(len(episodes), rank(), world_size())]
        return TestedTask(task, partial(self._test_environment, task), mine, episodes)

    def _episodes(self, task: int) -> list[Episode]:
        """Seed and options of the episodes that score a task."""
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
