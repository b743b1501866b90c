"""Methods that answer by the network of a task's phase, looked at after each phase."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from redwood.methods.architecture.network_per_phase import NetworkPerPhase
from redwood.methods.networks import Scale
from tests.small_runs import run_here, small_setting

N_TASKS = 3
# Residual networks, and marks of those that take longer.
RESIDUAL = {
    "slim_resnet18": (),
    "resnet18": pytest.mark.slow,
    "timm:test_resnet": (),
    "timm:resnet18": pytest.mark.slow,
}
# Every test sample is shown with an id, whether it is its own or not: answers are compared, not labels.
IDS = torch.arange(100) % N_TASKS


def normalised_row(**options: Any) -> nn.Sequential:
    """Convolution, batch normalisation and dropout in a row."""
    torch.manual_seed(3)
    return nn.Sequential(
        Scale(small_setting("task_incremental", **options).observation_space),
        nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2)),
        nn.Flatten(),
        nn.Linear(54, 12),
        nn.BatchNorm1d(12),
        nn.ReLU(),
        nn.Linear(12, 10),
    )


class Watch:
    """Notes the scores of all test samples and the FLOPs after each phase."""

    def on_task_end(self, task_id: int | None) -> None:
        super().on_task_end(task_id)  # type: ignore[misc]
        self.seen.append(answers(self))  # type: ignore[arg-type]
        self.spent.append(self.flops.total())  # type: ignore[attr-defined]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[Tensor] = []
        self.spent: list[float] = []


def answers(method: NetworkPerPhase) -> Tensor:
    """Scores (100, 10) of the test samples."""
    return method.predict(small_setting("task_incremental").dataset.source.x_test, IDS)


def watched(cls: type[NetworkPerPhase], key: str = "task_incremental", setting: Any = None, **options: Any) -> Any:
    """A method after a small run in which it was watched."""
    method = type(f"Watched{cls.__name__}", (Watch, cls), {})(**options)
    run_here(small_setting(key, **(setting or {})), method)
    return method


@cache
def plain(cls: type[NetworkPerPhase], key: str = "task_incremental") -> Any:
    """A method after a small run with default options: to be looked at, not to be changed."""
    return watched(cls, key)


def forgets(method: Any) -> bool:
    """Whether any answer for a task has changed after the task's phase."""
    return any(
        not torch.equal(method.seen[later][task == IDS], method.seen[task][task == IDS])
        for task in range(N_TASKS)
        for later in range(task, N_TASKS)
    )
