"""A gymnasium environment as a setting promises it: tasks, ids, budget and limits, in one layer."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, SupportsFloat

import gymnasium
import numpy as np

from redwood.core.errors import RedwoodError, reason_of
from redwood.settings.rl.actions import action_check
from redwood.settings.rl.budget import BudgetSpentError, OnlineReturn, PhaseOverError, Steps
from redwood.settings.rl.physics import Physics
from redwood.settings.rl.plain_state import NotPlainError, check_round_trip, load_state, save_state
from redwood.settings.rl.tasks import Context, Schedule

_OVER = -1  # stands for the end of a context: any step is after it, and no step comes before the next reset


class InvalidActionError(RedwoodError):
    """An action lies outside the environment's action space."""


class TaskEnvironment(gymnasium.Wrapper[Any, Any, Any, Any]):
    """One copy of a phase's environment.

    `info["task_id"]` of `reset` and `step` is the task where ids are given, else None. The step that spends the budget
    truncates the episode, and with it all copies are closed. Episodes are truncated at the limit of steps, and
    where the stream goes over to another environment; changed physics let an episode go on.

    All of this is one wrapper because steps of small environments take microseconds, as each wrapper does.
    """

    def __init__(
        self,
        makes: Sequence[Callable[[], gymnasium.Env[Any, Any]]],
        environments: Mapping[int, int],
        schedule: Schedule,
        *,
        limits: Sequence[int],
        seed: int,
        budget: Steps | None = None,
        show_ids: bool = False,
        online: OnlineReturn | None = None,
    ) -> None:
        """Wrap the environments of a stream.

        Args:
            makes: What makes its different environments.
            environments: Which of them each task of the schedule is of.
            schedule: When which task is on.
            limits: Steps per episode of each of the environments.
            seed: Decides how episodes start.
            budget: Steps that there are; None if there is no end.
            show_ids: Whether to tell the task.
            online: Where the returns of episodes are noted.
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
        self._context: Context | None = None
        self._move: Callable[[int], None] | None = None
        # What changes from step to step, and is kept in a checkpoint.
        self._random = np.random.default_rng(seed)
        self._seeded = [False] * len(bases)
        self._length, self._return = 0, 0.0
        self._task: int = -1
        self._shown_task: int | None = None
        self._until = self._may_end = _OVER

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: How it starts; by default that follows from the seed of the run.
            options: As in gymnasium.

        Raises:
            BudgetSpentError: If the budget of the phase is spent.
            PhaseOverError: If the phase is over.
        """
        if self._closed or self._budget.spent >= self._budget.total:
            self._refuse_use()
        index = self._enter_context(self._random.random())
        if seed is None and not self._seeded[index]:  # only once: a new generator costs more than some steps
            seed = int(self._random.integers(2**31))
        self._seeded[index] = True
        self._length, self._return = 0, 0.0
        observation, info = self.env.reset(seed=seed, options=options)
        info["task_id"] = self._shown_task
        return observation, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take one step of the budget.

        Raises:
            BudgetSpentError: If there is none left.
            PhaseOverError: If the phase is over.
            InvalidActionError: If the action lies outside the action space.
            gymnasium.error.ResetNeeded: If the episode is over.
        """
        budget = self._budget
        spent = budget.spent
        if spent >= self._until:
            self._go_on()
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
            truncated = True  # cut off: what the episode would have returned is not known
            self._until = _OVER
        return observation, reward, terminated, truncated, info

    def _go_on(self) -> None:
        """Become what the schedule says for the step to come, in the middle of an episode."""
        if self._until == _OVER or self._budget.spent >= self._budget.total:
            self._refuse_use()
        if not self._leaves():
            self._enter_context(0.0)

    def _enter_context(self, draw: float) -> int:
        """Become what the schedule says for the next step; the index of the environment."""
        context = self._schedule.at(self._budget.spent, draw)
        index = self._environments[context.task]
        self._hold_until(context.until)
        if context is not self._context:
            self._context, self._task = context, context.task
            self._shown_task = context.task if self._show_ids else None
            self.env, self._limit = self._bases[index], self._limits[index]
            self._move = self._physics[index].line(context.values, context.slopes) if context.slopes else None
            if context.values and self._move is None:
                self._physics[index].change(context.values)
        if self._move is not None:
            self._move(self._budget.spent)
        return index

    def _hold_until(self, step: int) -> None:
        """The context holds until this step, and the budget at most; there the episode may have to end."""
        self._until = min(step, self._budget.total)
        self._may_end = self._budget.total if len(self._bases) == 1 else self._until

    def _leaves(self) -> bool:
        """Whether the next step would be in another environment, which the episode cannot go on in."""
        coming = self._schedule.at(self._budget.spent, 0.0).task
        return self._bases[self._environments[coming]] is not self.env

    def close(self) -> None:
        """Close all environments of the stream; none can be used any more."""
        self._closed, self._until = True, _OVER
        for base in self._bases:
            base.close()

    def _refuse_use(self) -> None:
        if self._budget.spent >= self._budget.total:
            raise BudgetSpentError(self._budget.total)
        if self._closed:
            raise PhaseOverError
        raise gymnasium.error.ResetNeeded("The episode is over; call reset before the next step.")

    def state_dict(self) -> dict[str, Any]:
        """Where the episode is, exactly, as tensors and plain values.

        Raises:
            RedwoodError: If the environment has state of another kind.
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
        # Where physics drift, the line that they are on is found again at the step to come.
        until = 0 if self._move is not None and self._until != _OVER else self._until
        return {
            "bases": bases,
            "random": save_state(self._random),
            "seeded": list(self._seeded),
            "current": self._bases.index(self.env),
            "counts": [self._length, self._task, until],
            "return": self._return,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on in the middle of an episode.

        Raises:
            NotPlainError: If the state is not one of these environments.
        """
        bases, generator = load_state(self._bases, state["bases"]), load_state(self._random, state["random"])
        current, (length, task, until), seeded = int(state["current"]), map(int, state["counts"]), list(state["seeded"])
        same = len(bases) == len(self._bases) and all(map(operator.is_, bases, self._bases))
        seeded_ones = len(seeded) == len(bases) and all(type(value) is bool for value in seeded)
        if not (same and seeded_ones and 0 <= current < len(bases) and isinstance(generator, np.random.Generator)):
            raise NotPlainError(f"the state is of other environments than {self._bases}")
        self._random, self._seeded = generator, seeded
        self.env, self._limit = self._bases[current], self._limits[current]
        self._context = self._move = None
        self._length, self._task = length, task
        self._hold_until(until)
        self._shown_task = self._task if self._show_ids else None
        self._return = float(state["return"])


class HiddenEnvironment(gymnasium.Env[Any, Any]):
    """Acts as another environment, which is no attribute of it, and has neither its `unwrapped` nor its `spec`.

    Where boundaries are not announced, the physics and the name of the environment would announce them. Python has no
    secrets: a method that takes functions apart can still find them, as it can find the state that a checkpoint needs.
    """

    def state_dict(self) -> dict[str, Any]:
        """As of `TaskEnvironment`."""
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As of `TaskEnvironment`."""
        raise NotImplementedError


def hide(env: TaskEnvironment) -> HiddenEnvironment:
    """Hand out an environment so that its attributes do not tell what it is at."""

    class Hidden(HiddenEnvironment):
        """A class of its own, whose methods alone know the environment."""

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[Any, dict[str, Any]]:
            return env.reset(seed=seed, options=options)

        def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
            return env.step(action)

        def render(self) -> Any:
            return env.render()

        def close(self) -> None:
            env.close()

        def state_dict(self) -> dict[str, Any]:
            return env.state_dict()

        def load_state_dict(self, state: dict[str, Any]) -> None:
            env.load_state_dict(state)

    hidden = Hidden()
    hidden.observation_space, hidden.action_space = env.observation_space, env.action_space
    hidden.metadata, hidden.render_mode = env.metadata, env.render_mode
    return hidden
