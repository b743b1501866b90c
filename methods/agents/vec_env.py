"""The environments of a phase, as Stable-Baselines3 steps them."""

from collections import deque
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from redwood.methods.agents.task_input import OneHotTask, TaskInput
from redwood.settings.rl.budget import Budget
from redwood.settings.rl.phase import ReinforcementPhase


class StepsSpentError(Exception):
    """The steps that an agent may take are taken; it ends the library's loop wherever that is."""


class PhaseVecEnv(DummyVecEnv):
    """All copies of a phase's environment, and the end of its budget.

    Attributes:
        stop_at: Steps of the phase after which none is taken.
        clips: Whether actions are put within their bounds; rounding brings scaled ones beyond.
    """

    def __init__(self, phase: ReinforcementPhase, n: int, newest: deque[Any], task_input: TaskInput) -> None:
        """Take `n` copies, where to put observations (n, ...) that have been acted on, and what is appended to them."""
        copies: list[gymnasium.Env[Any, Any]] = list(phase.environments(n))
        if isinstance(task_input, OneHotTask):
            copies = [_WithTask(env, task_input) for env in copies]
        environments = [_WithLastReset(env, phase.budget) for env in copies]
        super().__init__([lambda env=env: env for env in environments])  # type: ignore[misc]
        self._budget, self._newest = phase.budget, newest
        self.stop_at = phase.budget.total
        self.clips = False

    def step_async(self, actions: Any) -> None:
        """Take the actions (n, ...) for the next step.

        Raises:
            StepsSpentError: If there is no whole step of all copies left.
        """
        if self._budget.spent + self.num_envs > self.stop_at:
            raise StepsSpentError
        self.actions = np.clip(actions, self.action_space.low, self.action_space.high) if self.clips else actions  # type: ignore[attr-defined]

    def step_wait(self) -> VecEnvStepReturn:
        """Take the step."""
        result = super().step_wait()
        self._newest.append(result[0])
        return result


class _WithLastReset(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Gives the last observation once more where a reset is not possible any more, which the library asks for."""

    def __init__(self, env: gymnasium.Env[Any, Any], budget: Budget) -> None:
        super().__init__(env)
        self._budget = budget
        self._last: Any = None

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        result = self.env.step(action)
        self._last = result[0]
        return result

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(**options) if self._budget.left > 0 else (self._last, {})


class _WithTask(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Appends to each observation the code of the task."""

    def __init__(self, env: gymnasium.Env[Any, Any], task_input: OneHotTask) -> None:
        super().__init__(env)
        self._input, self.observation_space = task_input, task_input.space

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._joined(observation, info), reward, terminated, truncated, info

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**options)
        return self._joined(observation, info), info

    def _joined(self, observation: Any, info: dict[str, Any]) -> Any:
        return self._input.join(np.asarray(observation)[None], [info["task_id"]])[0]


class _Spaces(gymnasium.Env[Any, Any]):
    """No more than the spaces of an environment."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space, self.action_space = observation_space, action_space


def no_environments(observation_space: Any, action_space: Any, n: int) -> DummyVecEnv:
    """What networks and memories can be built for before there is an environment; it cannot be stepped."""
    return DummyVecEnv([lambda: _Spaces(observation_space, action_space) for _ in range(n)])
