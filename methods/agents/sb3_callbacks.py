"""Callbacks of the library's loop: they report its progress to the progress bar, its losses to the run's logs."""

import math
from collections.abc import Mapping

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from typing_extensions import override

from redwood.core.errors import RedwoodError
from redwood.engine.run import Run
from redwood.settings.rl.phase import ReinforcementPhase

REPORT_EVERY = 256  # steps of the loop between two moves of the progress bar


class ProgressCallback(BaseCallback):
    """Moves the run's progress bar."""

    def __init__(self, run: Run, phase: ReinforcementPhase) -> None:
        super().__init__()
        self._run, self._phase = run, phase

    @override
    def update_locals(self, locals_: dict[str, object]) -> None:
        """Keep nothing: the library calls this at every step, and steps take microseconds."""

    @override
    def on_step(self) -> bool:
        self.n_calls += 1
        if self.n_calls % REPORT_EVERY == 0:
            self._run.reporter.step(self._phase.budget.spent)
        return True

    @override
    def _on_step(self) -> bool:
        return True


class _RunWriter(KVWriter):
    """Writes the library's logs to the logs of a run."""

    def __init__(self, run: Run, phase: ReinforcementPhase) -> None:
        self._run, self._phase = run, phase

    @override
    def write(
        self, key_values: Mapping[str, float], key_excluded: Mapping[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Log losses and the share of random actions; the setting itself measures returns, and the run its time."""
        values = {
            key: float(value)
            for key, value in key_values.items()
            if key.startswith("train/") or key == "rollout/exploration_rate"
        }
        spent = self._phase.budget.spent
        for key, value in values.items():
            if key.endswith("loss") and not math.isfinite(value):
                raise RedwoodError(
                    f"Training diverged: {key} is {value} after {spent} steps; use a smaller --learning_rate."
                )
        values = {key: value for key, value in values.items() if math.isfinite(value)}
        if values:
            self._run.log(values, self._run.global_step + spent)

    @override
    def close(self) -> None:
        """There is nothing to close."""


def run_logger(run: Run, phase: ReinforcementPhase) -> Logger:
    """Make a logger of the library that writes to the logs of a run."""
    return Logger(folder=None, output_formats=[_RunWriter(run, phase)])
