"""A gymnasium environment as a setting promises it: tasks, ids, budget and limits, in one layer."""

from collections.abc import Sequence
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
import torch
from torch import Tensor

from redwood.settings.errors import RedwoodError, reason_of
from redwood.settings.rl.actions import ActionCheck
from redwood.settings.rl.budget import Budget, BudgetSpentError
from redwood.settings.rl.online import OnlineReturn
from redwood.settings.rl.physics import Physics
from redwood.settings.rl.schedule import Context, Schedule
from redwood.settings.rl.snapshot import from_bytes, to_bytes


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
        self._show_ids = show_ids
        self._budget = Budget(2**62) if budget is None else budget
        self._online = online
        self._actions = ActionCheck(bases[0].action_space)
        self._context: Context | None = None
        # What changes from step to step, and is kept in a checkpoint.
        self._random = np.random.default_rng(seed)
        self._seeded = [False] * len(bases)
        self._several = len(bases) > 1
        self._length, self._return = 0, 0.0
        self._task: int = -1
        self._until, self._over = -1, True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: How it starts; by default that follows from the seed of the run.
            options: As in gymnasium.

        Raises:
            BudgetSpentError: If the budget of the phase is spent.
        """
        if self._budget.spent >= self._budget.total:
            raise BudgetSpentError(self._budget.total)
        self._over = False
        index = self._enter_context(self._random.random())
        if seed is None and not self._seeded[index]:  # only once: a new generator costs more than some steps
            seed = int(self._random.integers(2**31))
        self._seeded[index] = True
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
        if budget.spent >= self._until and not (self._several and self._leaves()):
            self._enter_context(0.0)
        if not self._actions.allow(action):
            raise InvalidActionError(
                f"The action {action!r} is outside the environment's action space {self.action_space}; "
                "return actions that lie in it."
            )
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
        elif budget.spent >= budget.total or (self._several and budget.spent >= self._until and self._leaves()):
            self._over = truncated = True  # cut off: what the episode would have returned is not known
        return observation, reward, terminated, truncated, info

    def _enter_context(self, draw: float) -> int:
        """Become what the schedule says for the next step; the index of the environment."""
        context = self._schedule.at(self._budget.spent, draw)
        index = self._environments[context.task]
        if context is not self._context:
            self._context, self._task, self._until = context, context.task, context.until
            self.env, self._limit = self._bases[index], self._limits[index]
            if context.values:
                self._physics[index].change(context.values)
        return index

    def _leaves(self) -> bool:
        """Whether the next step would be in another environment, which the episode cannot go on in."""
        coming = self._schedule.at(self._budget.spent, 0.0).task
        return self._bases[self._environments[coming]] is not self.env

    def _refuse_step(self) -> None:
        if self._budget.spent >= self._budget.total:
            raise BudgetSpentError(self._budget.total)
        raise gymnasium.error.ResetNeeded("The episode is over; call reset before the next step.")

    def state_dict(self) -> dict[str, Any]:
        """Where the episode is, exactly; the environments themselves as pickled bytes.

        Raises:
            RedwoodError: If the environment cannot be pickled.
        """
        try:
            content = to_bytes((self._bases, self._random, self._seeded))
        except Exception as error:
            raise RedwoodError(
                f"{self.env} cannot be saved in a checkpoint ({reason_of(error)}); use --checkpoint_every 0."
            ) from error
        counts = [self._length, self._task, self._until, int(self._over)]
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
        self._bases, self._random, self._seeded = from_bytes(content.numpy().tobytes())
        self.env, self._limit = self._bases[state["current"]], self._limits[state["current"]]
        # Factors of MuJoCo's bodies are of the unchanged ones, which the environments made first have.
        self._physics = [old.moved_to(base) for old, base in zip(physics, self._bases, strict=True)]
        self._length, self._task, self._until, over = state["counts"]
        self._over, self._return = bool(over), state["return"]
