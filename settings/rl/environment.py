"""The environment that a method gets: a gymnasium environment with tasks, ids, budget and limits."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from typing_extensions import override

from redwood.core.errors import RedwoodError, reason_of
from redwood.core.state import State
from redwood.settings.rl.actions import action_check
from redwood.settings.rl.budget import BudgetSpentError, OnlineReturn, PhaseOverError, Steps
from redwood.settings.rl.physics import Physics
from redwood.settings.rl.plain_state import NotPlainError, check_round_trip, load_state, save_state
from redwood.settings.rl.tasks import ActiveTask, Schedule
from redwood.settings.rl.types import Env, EnvWrapper, Options, ResetResult, StepResult

_OVER = -1  # in the place of the last step of a task: the episode is over, and no step comes before the next reset


class InvalidActionError(RedwoodError):
    """An action lies outside the environment's action space."""


class TaskEnvironment(EnvWrapper):
    """One copy of a phase's environment.

    `info["task_id"]` of `reset` and `step` is the task where ids are given, else None. The step that spends the budget
    truncates the episode, and closes all copies. An episode is also truncated at the limit of steps, and where the
    stream changes to another environment. It goes on where only the physics change.

    One wrapper does all of it, because a step of a small environment takes microseconds, like each wrapper.
    """

    def __init__(
        self,
        makes: Sequence[Callable[[], Env]],
        environments: Mapping[int, int],
        schedule: Schedule,
        *,
        limits: Sequence[int],
        seed: int,
        budget: Steps | None = None,
        show_ids: bool = False,
        online: OnlineReturn | None = None,
    ) -> None:
        """Make the environments of a phase.

        Args:
            makes: Make its different environments.
            environments: For each task of the schedule, the index of its environment.
            schedule: Says which task is active at each step.
            limits: Steps per episode in each of the environments.
            seed: Decides how episodes start.
            budget: The steps of the phase; None for any number of steps.
            show_ids: Whether to tell the task.
            online: Receives the returns of episodes.
        """
        bases = [make() for make in makes]
        super().__init__(bases[0])
        self._makes, self._checked, self._closed = list(makes), False, False
        self._bases, self._environments, self._schedule = bases, environments, schedule
        self._physics = [Physics(base) for base in bases]
        self._limits, self._limit = list(limits), limits[0]
        self._show_ids = show_ids
        self._budget = Steps(2**62) if budget is None else budget
        self._online = online
        self._allows = action_check(bases[0].action_space)
        self._active: ActiveTask | None = None
        self._move: Callable[[int], None] | None = None
        # The state, which a checkpoint keeps.
        self._random = np.random.default_rng(seed)
        self._seeded = [False] * len(bases)
        self._length, self._return = 0, 0.0
        self._task: int = -1
        self._shown_task: int | None = None
        self._until = self._may_end = _OVER

    @override
    def reset(self, *, seed: int | None = None, options: Options | None = None) -> ResetResult:
        """Start an episode.

        Args:
            seed: Decides how the episode starts; by default it follows from the seed of the run.
            options: Options of the environment, as in gymnasium.

        Raises:
            BudgetSpentError: If the budget of the phase is spent.
            PhaseOverError: If the phase is over.
        """
        if self._closed or self._budget.spent >= self._budget.total:
            self._refuse_use()
        if self._budget.spent >= self._budget.next_evaluation:
            self._budget.evaluate()
        index = self._enter_task(self._random.random())
        if seed is None and not self._seeded[index]:  # only once: a new generator costs more than some steps
            seed = int(self._random.integers(2**31))
        self._seeded[index] = True
        self._length, self._return = 0, 0.0
        observation, info = self.env.reset(seed=seed, options=options)
        info["task_id"] = self._shown_task
        return observation, info

    @override
    def step(self, action: object) -> StepResult:
        """Take one step of the budget.

        Raises:
            BudgetSpentError: If the budget of the phase is spent.
            PhaseOverError: If the phase is over.
            InvalidActionError: If the action lies outside the action space.
            gymnasium.error.ResetNeeded: If the episode is over.
        """
        budget = self._budget
        spent = budget.spent
        if spent >= self._until:
            self._follow_schedule()
        if self._move is not None:
            self._move(spent)
        if not self._allows(action):
            raise InvalidActionError(
                f"The action {action} is outside the environment's action space {self.action_space}; "
                "return actions that lie in it."
            )
        observation, reward, terminated, truncated, info = self.env.step(action)
        budget.spent = spent = spent + 1
        self._length = length = self._length + 1
        self._return += float(reward)
        info["task_id"] = self._shown_task
        if length >= self._limit:
            truncated = True
        if terminated or truncated:
            self._until = _OVER
            if self._online is not None:
                self._online.add(spent, self._return)
        elif spent >= self._may_end and (spent >= budget.total or self._leaves()):
            truncated = True  # cut off, so its return is unknown
            self._until = _OVER
        if spent >= budget.next_evaluation:
            budget.evaluate()
        return observation, reward, terminated, truncated, info

    def _follow_schedule(self) -> None:
        """Follow the schedule to the next step, in the middle of an episode."""
        if self._until == _OVER or self._budget.spent >= self._budget.total:
            self._refuse_use()
        if not self._leaves():
            self._enter_task(0.0)

    def _enter_task(self, draw: float) -> int:
        """Change to the task of the next step, and return the index of its environment."""
        active = self._schedule.at(self._budget.spent, draw)
        index = self._environments[active.task]
        self._hold_until(active.until)
        if active is not self._active:
            self._active, self._task = active, active.task
            self._shown_task = active.task if self._show_ids else None
            self.env, self._limit = self._bases[index], self._limits[index]
            self._move = self._physics[index].line(active.values, active.slopes) if active.slopes else None
            if active.values and self._move is None:
                self._physics[index].change(active.values)
        if self._move is not None:
            self._move(self._budget.spent)
        return index

    def _hold_until(self, step: int) -> None:
        """Expect the next change of the task at this step, or at the end of the budget if that comes first."""
        self._until = min(step, self._budget.total)
        self._may_end = self._budget.total if len(self._bases) == 1 else self._until

    def _leaves(self) -> bool:
        """Return whether the next step is in another environment, so that the episode has to end."""
        coming = self._schedule.at(self._budget.spent, 0.0).task
        return self._bases[self._environments[coming]] is not self.env

    @override
    def close(self) -> None:
        """Close all environments of the phase; none can be used any more."""
        self._closed, self._until = True, _OVER
        for base in self._bases:
            base.close()

    def _refuse_use(self) -> None:
        if self._budget.spent >= self._budget.total:
            raise BudgetSpentError(self._budget.total)
        if self._closed:
            raise PhaseOverError
        raise gymnasium.error.ResetNeeded("The episode is over; call reset before the next step.")

    def state_dict(self) -> State:
        """Return the exact state of the episode, as tensors and plain values.

        Raises:
            RedwoodError: If the environment keeps values of another kind.
        """
        try:
            bases = save_state(self._bases)
            if not self._checked:  # once: environments of a class have state of the same kinds
                check_round_trip(self._makes, bases)
                self._checked = True
        except NotPlainError as error:
            raise RedwoodError(
                f"{self.env} cannot be saved ({reason_of(error)}): a run that is interrupted goes on from the start of "
                "its phase."
            ) from error
        # Where physics drift, the next step looks up their line again.
        until = 0 if self._move is not None and self._until != _OVER else self._until
        return {
            "bases": bases,
            "random": save_state(self._random),
            "seeded": list(self._seeded),
            "current": self._bases.index(self.env),
            "counts": [self._length, self._task, until],
            "return": self._return,
        }

    def load_state_dict(self, state: State) -> None:
        """Continue in the middle of an episode.

        Raises:
            NotPlainError: If the state belongs to other environments.
        """
        bases, generator = load_state(self._bases, state["bases"]), load_state(self._random, state["random"])
        current, (length, task, until), seeded = int(state["current"]), map(int, state["counts"]), list(state["seeded"])
        same = len(bases) == len(self._bases) and all(map(operator.is_, bases, self._bases))
        seeded_ones = len(seeded) == len(bases) and all(type(value) is bool for value in seeded)
        if not (same and seeded_ones and 0 <= current < len(bases) and isinstance(generator, np.random.Generator)):
            raise NotPlainError(f"the state is of other environments than {self._bases}")
        self._random, self._seeded = generator, seeded
        self.env, self._limit = self._bases[current], self._limits[current]
        self._active = self._move = None
        self._length, self._task = length, task
        self._hold_until(until)
        self._shown_task = self._task if self._show_ids else None
        self._return = float(state["return"])


class HiddenEnvironment(Env):
    """Stands for another environment, which none of its attributes holds, without its `unwrapped` and its `spec`.

    Where boundaries are not announced, physics and names of environments are hidden, because they would tell the
    boundaries. Python has no secrets: a method that takes functions apart can still find them.
    """

    def state_dict(self) -> State:
        """Return the state; see `TaskEnvironment.state_dict`."""
        raise NotImplementedError

    def load_state_dict(self, state: State) -> None:
        """Continue from a state; see `TaskEnvironment.load_state_dict`."""
        raise NotImplementedError


def hide(env: TaskEnvironment) -> HiddenEnvironment:
    """Return an environment that acts as `env`, and whose attributes do not tell the task."""

    class Hidden(HiddenEnvironment):
        """Only its methods know the environment."""

        @override
        def reset(self, *, seed: int | None = None, options: Options | None = None) -> ResetResult:
            return env.reset(seed=seed, options=options)

        @override
        def step(self, action: object) -> StepResult:
            return env.step(action)

        @override
        def render(self) -> Any:
            return env.render()

        @override
        def close(self) -> None:
            env.close()

        @override
        def state_dict(self) -> State:
            return env.state_dict()

        @override
        def load_state_dict(self, state: State) -> None:
            env.load_state_dict(state)

    hidden = Hidden()
    hidden.observation_space, hidden.action_space = env.observation_space, env.action_space
    hidden.metadata, hidden.render_mode = env.metadata, env.render_mode
    return hidden
