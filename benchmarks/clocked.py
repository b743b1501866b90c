"""Redwood's methods with a clock: when each step began, and how long `fit` took."""

from typing import Any

import torch
from common import Seconds

from redwood.methods.baselines import Finetune
from redwood.methods.lightning import LightningMethod
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.step import Step
from redwood.settings.streams.phase import Phase

# Steps at the start of a phase that do not count as steady: FLOPs are counted in some of them.
WARM_UP = 10


class Clocked(LightningMethod):
    """Mixin that takes the time of `fit`, and of each step when its batch is augmented."""

    def start_clock(self) -> "Clocked":
        """Forget earlier times."""
        self.fit_time = Seconds(0.0, 0.0)
        self.steps: list[list[Seconds]] = []
        return self

    def fit(self, phase: Phase) -> None:
        """Train on one phase and add up the time."""
        self.steps.append([])
        start = Seconds.now()
        super().fit(phase)
        self.fit_time = self.fit_time.plus(Seconds.now().since(start))

    def augment(self, step: Step) -> None:
        """Note when the step began."""
        self.steps[-1].append(Seconds.now())
        super().augment(step)

    def steady_step(self) -> Seconds:
        """Mean time of a step, without the first steps of each phase and what comes before and after all steps."""
        total, n = Seconds(0.0, 0.0), 0
        for stamps in self.steps:
            total = total.plus(stamps[-1].since(stamps[WARM_UP]))
            n += len(stamps) - 1 - WARM_UP
        return total.each(n)


class ClockedFinetune(Clocked, Finetune):
    """Fine-tuning with a clock."""


class ClockedRehearsal(Clocked, Rehearsal):
    """Rehearsal with a clock."""


RUN_OPTIONS: dict[str, Any] = {"quiet": True, "accelerator": "cpu"}


def use_one_thread() -> None:
    """Compute on one thread: small networks are slower on more, and the bare loops have to do as redwood does."""
    torch.set_num_threads(1)
