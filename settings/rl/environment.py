"""A gymnasium environment as a setting promises it: tasks, ids, budget and limits, in one layer."""

import pickle
from collections.abc import Sequence
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
import torch
from torch import Tensor

from redwood.settings.errors import RedwoodError, reason_of
from redwood.settings.rl.budget import Budget, BudgetSpentError
from redwood.settings.rl.online import OnlineReturn
from redwood.settings.rl.physics import Physics
from redwood.settings.rl.schedule import Schedule
from redwood.settings.seeding import derive_seed


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
        bases: Sequence[gymnasium.Env[Any, Any]],
        environments: Sequence[int],
        schedule: Schedule,
        *,
        limits: Sequence[int],
        seed: int,
        budget: Budget | None = None,
        show_ids: bool = False,
        online: OnlineReturn | None = None,
    ) -> None:
        """Wrap the environments of a stream.

        Args:
            bases: Its different environments.
            environments: Which of them each task is of (T,).
            schedule: When which task is on.
            limits: Steps per episode of each of the environments.
            seed: Decides how episodes start.
            budget: Steps that there are; None if there is no end.
            show_ids: Whether to tell the task.
            online: Where the returns of episodes are noted.
        """
        super().__init__(bases[0])
        self._bases, self._environments, self._schedule = list(bases), list(environments), schedule
        self._physics = [Physics(base) for base in bases]
        self._limits, self._limit = list(limits), limits[0]
        self._seed, self._show_ids = seed, show_ids
        self._budget = Budget(2**62) if budget is None else budget
        self._online = online
        space = self.action_space
        self._n_actions = int(space.n) if isinstance(space, gymnasium.spaces.Discrete) else 0
        self._first_action = int(space.start) if isinstance(space, gymnasium.spaces.Discrete) else 0
        # What changes from step to step, and is kept in a checkpoint.
        self._episode, self._length, self._return = 0, 0, 0.0
        self._task: int = -1
        self._until, self._over = -1, True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: How it starts; by default it follows from the seed of the run and the number of the episode.
            options: As in gymnasium.

        Raises:
            BudgetSpentError: If the budget of the phase is spent.
        """
        if self._budget.spent >= self._budget.total:
            raise BudgetSpentError(self._budget.total)
        if seed is None:
            seed = derive_seed(self._seed, "episode", self._episode) % 2**31
        self._over = False
        self._enter_context(seed)
        self._episode += 1
        self._length, self._return = 0, 0.0
        observation, info = self.env.reset(seed=seed, options=options)
        info["task_id"] = self._task if self._show_ids else None
        return observation, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take one step of the budget.

        Raises:
            BudgetSpentError: If there is none left.
            InvalidActionError: If the action lies outside the action space.
            gymnasium.error.ResetNeeded: If the episode is over.
        """
        budget = self._budget
        if self._over:
            self._refuse_step()
        if budget.spent >= self._until and not self._leaves():
            self._enter_context(self._episode)
        if not (self._is_choice(action) if self._n_actions else self._in_box(action)):
            self._refuse_action(action)
        observation, reward, terminated, truncated, info = self.env.step(action)
        budget.spent += 1
        self._length += 1
        self._return += float(reward)
        info["task_id"] = self._task if self._show_ids else None
        truncated = truncated or self._length >= self._limit
        if terminated or truncated:
            self._over = True
            if self._online is not None:
                self._online.add(budget.spent, self._return)
        elif budget.spent >= budget.total or (budget.spent >= self._until and self._leaves()):
            self._over = truncated = True  # cut off: what the episode would have returned is not known
        return observation, reward, terminated, truncated, info

    def _enter_context(self, episode_seed: int) -> None:
        context = self._schedule.at(self._budget.spent, episode_seed)
        index = self._environments[context.task]
        self._task, self._until = context.task, context.until
        self.env, self._limit = self._bases[index], self._limits[index]
        if context.values:
            self._physics[index].change(context.values)

    def _leaves(self) -> bool:
        """Whether the next step would be in another environment, which the episode cannot go on in."""
        if len(self._bases) == 1:
            return False
        coming = self._schedule.at(self._budget.spent, self._episode).task
        return self._bases[self._environments[coming]] is not self.env

    def _refuse_step(self) -> None:
        if self._budget.spent >= self._budget.total:
            raise BudgetSpentError(self._budget.total)
        raise gymnasium.error.ResetNeeded("The episode is over; call reset before the next step.")

    def _is_choice(self, action: Any) -> bool:
        try:
            return bool(self._first_action <= action < self._first_action + self._n_actions)
        except (TypeError, ValueError):  # it is no number, or several
            return False

    def _in_box(self, action: Any) -> bool:
        space = self.action_space
        values = np.asarray(action)
        if not isinstance(space, gymnasium.spaces.Box):
            return bool(space.contains(action))
        # Not its `contains`, which takes no float64 for a float32, though environments do.
        return values.shape == space.shape and bool((values >= space.low).all() and (values <= space.high).all())

    def _refuse_action(self, action: Any) -> None:
        raise InvalidActionError(
            f"The action {action!r} is outside the environment's action space {self.action_space}; "
            "return actions that lie in it."
        )

    def state_dict(self) -> dict[str, Any]:
        """Where the episode is, exactly; the environments themselves as pickled bytes.

        Raises:
            RedwoodError: If the environment cannot be pickled.
        """
        try:
            content = pickle.dumps(self._bases)
        except Exception as error:
            raise RedwoodError(
                f"{self.env} cannot be saved in a checkpoint ({reason_of(error)}); use --checkpoint_every 0."
            ) from error
        counts = [self._episode, self._length, self._task, self._until, int(self._over)]
        return {
            "bases": torch.frombuffer(bytearray(content), dtype=torch.uint8),
            "current": self._bases.index(self.env),
            "counts": counts,
            "return": self._return,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on in the middle of an episode; the bytes have to be those of a run of one's own."""
        content: Tensor = state["bases"]
        physics = self._physics
        self._bases = pickle.loads(content.numpy().tobytes())
        self.env, self._limit = self._bases[state["current"]], self._limits[state["current"]]
        # Factors of MuJoCo's bodies are of the unchanged ones, which the environments made first have.
        self._physics = [old.moved_to(base) for old, base in zip(physics, self._bases, strict=True)]
        self._episode, self._length, self._task, self._until, over = state["counts"]
        self._over, self._return = bool(over), state["return"]
