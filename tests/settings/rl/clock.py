"""A small environment whose physics can be read off its observations, and a method that writes down what it is told."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from redwood.engine.loop import run_protocol
from redwood.engine.run import Run
from redwood.methods.base import Method
from redwood.settings.base import Setting
from redwood.settings.rl.phase import ReinforcementPhase
from redwood.settings.rl.setting import ReinforcementSetting
from redwood.settings.scores.results import Results
from tests.settings.rl.clock_environments import Clock as Clock
from tests.settings.rl.clock_environments import OneRightAction as OneRightAction
from tests.settings.rl.clock_environments import OtherClock as OtherClock

LIMIT, N_TASKS, STEPS = 7, 3, 20


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
