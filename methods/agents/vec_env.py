"""The environments of a phase, in the form in which Stable-Baselines3 steps them."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn
from typing_extensions import override

from redwood.methods.agents.task_input import OneHotTask, TaskInput
from redwood.settings.rl.budget import Budget
from redwood.settings.rl.phase import ReinforcementPhase
from redwood.settings.rl.processes import RemoteEnvironment
from redwood.settings.rl.types import Array, Env, EnvWrapper, Info, ResetResult, Space, StepResult


class StepsSpentError(Exception):
    """The agent has taken all steps that it may take; this ends the library's loop at any place."""


class PhaseVecEnv(DummyVecEnv):
    """All copies of a phase's environment, which end the library's loop when the steps are spent.

    Attributes:
        stop_at: Steps of the phase after which no step is taken.
        clips: Whether actions are clipped to their bounds; rounding moves scaled actions beyond them.
        meanwhile: Called between the start and the end of each step.
    """

    def __init__(
        self,
        phase: ReinforcementPhase,
        n: int,
        newest: deque[Array],
        task_input: TaskInput,
        processes: int = 0,
        each_task: bool = False,
    ) -> None:
        """Make the copies.

        Args:
            phase: The phase.
            n: Number of copies.
            newest: Receives the observations (n, ...) of each step.
            task_input: What is appended to observations.
            processes: Number of processes that step the copies; 0 for this one.
            each_task: Whether each task has an equal part of the copies, instead of a task drawn for each episode.
        """
        made = phase.environments(n, processes, each_task=each_task)
        self._remote = [env for env in made if isinstance(env, RemoteEnvironment)]
        copies: list[Env] = list(made)
        if isinstance(task_input, OneHotTask):
            copies = [_WithTask(env, task_input) for env in copies]
        make: list[Callable[[], Env]] = [partial(_WithLastReset, env, phase.budget) for env in copies]
        super().__init__(make)
        self._budget, self._newest = phase.budget, newest
        self.stop_at = phase.budget.total
        self.clips = False
        self.meanwhile: Callable[[], None] | None = None

    @override
    def step_async(self, actions: Array) -> None:
        """Receive the actions (n, ...) of the next step.

        Raises:
            StepsSpentError: If fewer steps are left than there are copies.
        """
        if self._budget.spent + self.num_envs > self.stop_at:
            raise StepsSpentError
        space = self.action_space
        if self.clips and isinstance(space, spaces.Box):
            actions = np.clip(actions, space.low, space.high)
        self.actions = actions
        for number, env in enumerate(self._remote):
            env.send(actions[number], ahead=number)

    @override
    def step_wait(self) -> VecEnvStepReturn:
        if self.meanwhile is not None:
            self.meanwhile()
        result = super().step_wait()
        assert isinstance(result[0], np.ndarray)
        self._newest.append(result[0])
        return result


class _WithLastReset(EnvWrapper):
    """Answers a reset after the last step with the last observation; the library asks for it, the phase refuses it."""

    def __init__(self, env: Env, budget: Budget) -> None:
        super().__init__(env)
        self._budget = budget
        self._last: object = None

    @override
    def step(self, action: object) -> StepResult:
        result = self.env.step(action)
        self._last = result[0]
        return result

    @override
    def reset(self, **options: Any) -> ResetResult:
        return self.env.reset(**options) if self._budget.left > 0 else (self._last, {})


class _WithTask(EnvWrapper):
    """Appends the code of the task to each observation."""

    def __init__(self, env: Env, task_input: OneHotTask) -> None:
        super().__init__(env)
        self._input, self.observation_space = task_input, task_input.space

    @override
    def step(self, action: object) -> StepResult:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._joined(observation, info), reward, terminated, truncated, info

    @override
    def reset(self, **options: Any) -> ResetResult:
        observation, info = self.env.reset(**options)
        return self._joined(observation, info), info

    def _joined(self, observation: object, info: Info) -> object:
        return self._input.join(np.asarray(observation)[None], [info["task_id"]])[0]


class _Spaces(Env):
    """An environment that has spaces, but cannot be stepped."""

    def __init__(self, observation_space: Space, action_space: Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space


def spaces_only(observation_space: Space, action_space: Space, n: int) -> DummyVecEnv:
    """Make `n` environments that cannot be stepped; the library builds networks and memories for their spaces."""
    return DummyVecEnv([partial(_Spaces, observation_space, action_space) for _ in range(n)])
