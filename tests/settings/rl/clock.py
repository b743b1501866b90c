"""A small environment whose physics can be read off its observations, and a method that writes down what it is told."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from redwood.methods.base import Method
from redwood.runs.loop import run_protocol
from redwood.runs.run import Run
from redwood.settings.base import Setting
from redwood.settings.results import Results
from redwood.settings.rl.phase import ReinforcementPhase
from redwood.settings.rl.setting import ReinforcementSetting

LIMIT, N_TASKS, STEPS = 7, 3, 20


class Clock(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Shows its gain and the time; pays the gain for action 1."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-1e6, 1e6, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.gain, self.bias = 2.0, 1.0
        self.time = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.time = int(self.np_random.integers(1000))
        return self._shown(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self._shown(), self.gain * float(action), False, False, {"gain": self.gain}

    def _shown(self) -> NDArray[np.float32]:
        return np.array([self.gain, self.time], dtype=np.float32)


class OtherClock(Clock):
    """Another environment with the same spaces."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = 50.0


class OneRightAction(gymnasium.Env[NDArray[Any], np.int64]):
    """Pays 1 for one of its actions, the same one at every step."""

    def __init__(self, right: int, length: int, n_actions: int, observation_space: gymnasium.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, gymnasium.spaces.Discrete(n_actions)
        self.right, self.length, self.time = right, length, 0
        self._empty = np.zeros_like(np.asarray(observation_space.sample()))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self.shown(), {}

    def step(self, action: np.int64) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self.shown(), float(action == self.right), self.time == self.length, False, {}

    def shown(self) -> NDArray[Any]:
        return self._empty


@dataclass
class Fitted:
    """What happened in a phase.

    Attributes:
        task_id: What the phase says.
        gains: The physics at each step.
        ids: The task that was told at each reset and step.
        lengths: Steps of each episode.
        late: Errors of what was done after the budget.
    """

    task_id: int | None
    total: int
    gains: list[float] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    last_truncated: bool = False


@dataclass
class Log:
    """What one worker was told."""

    hooks: list[tuple[Any, ...]] = field(default_factory=list)
    view: dict[str, Any] = field(default_factory=dict)
    fitted: list[Fitted] = field(default_factory=list)
    tested: list[Any] = field(default_factory=list)


@dataclass
class Recorder(Method):
    """Always takes action 1."""

    target: ClassVar[type[Setting]] = ReinforcementSetting

    def attach(self, run: Run) -> None:
        super().attach(run)
        self.log = Log(hooks=[("attach",)])

    def configure(self, setting: Setting) -> None:
        self.log.hooks.append(("configure",))
        self.log.view = dict(vars(setting))

    def on_task_start(self, task_id: int | None) -> None:
        self.log.hooks.append(("on_task_start", task_id))

    def on_task_end(self, task_id: int | None) -> None:
        self.log.hooks.append(("on_task_end", task_id))

    def on_finish(self, results: Results) -> None:
        self.log.hooks.append(("on_finish",))

    def fit(self, phase: ReinforcementPhase) -> None:
        self.log.hooks.append(("fit",))
        fitted = Fitted(phase.task_id, phase.budget.total)
        self.log.fitted.append(fitted)
        env = phase.train
        while phase.budget.left:
            observation, info = env.reset()
            fitted.starts.append(float(observation[1]))
            fitted.ids.append(info["task_id"])
            fitted.lengths.append(0)
            over = False
            while not over:
                _, _, terminated, truncated, info = env.step(1)
                over = terminated or truncated
                fitted.lengths[-1] += 1
                fitted.gains.append(info["gain"])
                fitted.ids.append(info["task_id"])
            fitted.last_truncated = truncated
        for act in (env.reset, lambda: env.step(1)):
            try:
                act()
            except Exception as error:
                fitted.late.append(type(error).__name__)

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        self.log.hooks.append(("predict",))
        self.log.tested.append(None if task_id is None else task_id.tolist())
        return torch.ones(len(x), dtype=torch.long)


def record(setting: Any) -> tuple[Any, Log]:
    """Run a recorder on this worker."""
    recorder = Recorder()
    results = run_protocol(setting, recorder, Run(quiet=True, accelerator="cpu"))
    return results, recorder.log


def clock(setting: Any, **options: Any) -> Any:
    """A setting of clocks."""
    defaults = {
        "env": Clock,
        "attributes": ["gain"],
        "nb_tasks": N_TASKS,
        "steps_per_task": STEPS,
        "max_episode_steps": LIMIT,
        "test_episodes": 4,
        "seed": 3,
    }
    return setting(**defaults | options)
