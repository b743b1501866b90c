"""What the library's loop reports: progress to the bar, its losses to the run's logs."""

import math
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger

from redwood.core.errors import RedwoodError
from redwood.runs.run import Run
from redwood.settings.rl.phase import ReinforcementPhase

REPORT_EVERY = 256


class Progress(BaseCallback):
    """Moves the bar."""

    def __init__(self, run: Run, phase: ReinforcementPhase) -> None:
        super().__init__()
        self._run, self._phase = run, phase

    def update_locals(self, locals_: dict[str, Any]) -> None:
        """Keep nothing: this is called at every step, of environments whose steps take microseconds."""

    def on_step(self) -> bool:
        """Report every so many steps, and go on."""
        self.n_calls += 1
        if self.n_calls % REPORT_EVERY == 0:
            self._run.reporter.step(self._phase.budget.spent)
        return True

    def _on_step(self) -> bool:
        return True


class _RunWriter(KVWriter):
    def __init__(self, run: Run, phase: ReinforcementPhase) -> None:
        self._run, self._phase = run, phase

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Log what tells of the training, but not the clock, nor the returns, which the setting measures."""
        values = {
            key: float(value)
            for key, value in key_values.items()
            if key.startswith("train/") or key == "rollout/exploration_rate"
        }
        done = self._phase.budget.spent
        for key, value in values.items():
            if key.endswith("loss") and not math.isfinite(value):
                raise RedwoodError(
                    f"Training diverged: {key} is {value} after {done} steps; use a smaller --learning_rate."
                )
        values = {key: value for key, value in values.items() if math.isfinite(value)}
        if values:
            self._run.log(values, self._run.global_step + done)

    def close(self) -> None:
        """There is nothing to close."""


def run_logger(run: Run, phase: ReinforcementPhase) -> Logger:
    """A logger of the library that writes to the logs of a run."""
    return Logger(folder=None, output_formats=[_RunWriter(run, phase)])
