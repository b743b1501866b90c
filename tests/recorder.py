"""A method that learns nothing but writes down all that it is told."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import pytest
import torch
from torch import Tensor

from redwood.engine.loop import run_protocol
from redwood.engine.run import Run
from redwood.methods.base import Method
from redwood.settings.base import Setting
from redwood.settings.batch import Batch
from redwood.settings.scores.results import Results
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting
from tests.leak_check import finds_test_data
from tests.samples import numbered

L = TypeVar("L")


@dataclass
class Fitted:
    """One phase: what it says of itself, and the batches of each of its epochs."""

    index: int
    task_id: int | None
    task_classes: dict[int, tuple[int, ...]] | None
    steps: int
    epochs: list[list[Batch]] = field(default_factory=list)

    def batches(self) -> list[Batch]:
        return [batch for epoch in self.epochs for batch in epoch]


@dataclass
class Log:
    """What one worker was told.

    Attributes:
        hooks: The calls, in order: name, and task id where the hook has one.
        view: Attributes of the setting that the method was configured with.
        fitted: The phases.
        tested: Per evaluation the samples and the task ids shown.
        leaks: Where test data of `numbered()` could be reached.
    """

    hooks: list[tuple[Any, ...]] = field(default_factory=list)
    view: dict[str, Any] = field(default_factory=dict)
    fitted: list[Fitted] = field(default_factory=list)
    tested: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)


@dataclass
class Recorder(Method):
    """Predicts class 0 whatever comes."""

    target: ClassVar[type[Setting]] = SupervisedSetting

    def attach(self, run: Run) -> None:
        super().attach(run)
        self.log = Log(hooks=[("attach",)])

    def configure(self, setting: Setting) -> None:
        self.setting = setting
        self.log.hooks.append(("configure",))
        self.log.view = dict(vars(setting))
        self.cheat()

    def on_task_start(self, task_id: int | None) -> None:
        self.log.hooks.append(("on_task_start", task_id))

    def on_task_end(self, task_id: int | None) -> None:
        self.log.hooks.append(("on_task_end", task_id))

    def fit(self, phase: Phase) -> None:
        self.phase = phase
        self.log.hooks.append(("fit",))
        classes = None if phase.task_classes is None else dict(phase.task_classes)
        fitted = Fitted(phase.index, phase.task_id, classes, phase.steps)
        self.log.fitted.append(fitted)
        for epoch in range(phase.train.epochs):
            fitted.epochs.append([])
            batches = iter(phase.train)
            for step, batch in enumerate(batches):
                fitted.epochs[-1].append(batch)
                phase.score(torch.zeros_like(batch.y), batch)
                if epoch == 0 and step == 0:
                    self.cheat(batches, batch)

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        self.log.hooks.append(("predict",))
        self.log.tested.append((x, task_id))
        return torch.zeros(len(x), dtype=torch.long)

    def on_finish(self, results: Results) -> None:
        self.log.hooks.append(("on_finish",))

    def cheat(self, *given: Any) -> None:
        """Look for test data in all that the method was given so far, but for the test samples themselves."""
        own = {name: value for name, value in vars(self).items() if name != "log"}
        self.log.leaks += finds_test_data(numbered(), own, given)


def record(setting: Setting) -> tuple[Results, Log]:
    """Run a recorder on this worker."""
    recorder = Recorder()
    results = run_protocol(setting, recorder, Run(quiet=True, accelerator="cpu"))
    return results, recorder.log


def record_each_worker(
    request: pytest.FixtureRequest, record: Callable[[Setting], tuple[Results, L]], setting: Setting, workers: int
) -> tuple[Results, list[L]]:
    """The results of a recorder's run, and the log of each worker."""
    if workers == 1:
        results, log = record(setting)
        return results, [log]
    outcomes = request.getfixturevalue("two_workers").run(record, setting)
    assert outcomes[0][0].accuracy_matrix == outcomes[1][0].accuracy_matrix
    return outcomes[0][0], [log for _, log in outcomes]
