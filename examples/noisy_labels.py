"""A setting with an assumption, a stream and results of its own: labels that are wrong more and more often.

Run it by naming the file: python cli.py --setting examples/noisy_labels.py:NoisyLabels --method rehearsal --noise 0.4
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from redwood.core.checks import check_range
from redwood.core.schema import ListOf, Number, Spec
from redwood.core.seeding import generator
from redwood.settings import Assumption, ClassIncrementalSetting, Results
from redwood.settings.data.arrays import Samples
from redwood.settings.streams.batches import Source
from redwood.settings.streams.supervised_stream import SupervisedStream

noisy_labels = Assumption("labels of training samples are wrong, in later tasks more often")


@dataclass(kw_only=True)
class NoisyResults(Results):
    """The outcome of a run with wrong labels, and the share of them in each task (T,)."""

    own_entries: ClassVar[Mapping[str, Spec]] = {"wrong_labels": ListOf(Number(0, 1))}

    wrong_labels: list[float] = field(default_factory=list)


class NoisyStream(SupervisedStream):
    """A stream that exchanges labels within each task before anything is learned."""

    setting: "NoisyLabels"
    results_of_classes: ClassVar[type[Results]] = NoisyResults

    def training_source(self, x: Samples, y: Tensor) -> Source:
        """The samples (N, ...), with labels (N,) of which some were exchanged."""
        wrong, random = y.clone(), generator(self.setting.seed, "noise")
        for number, task in enumerate(self.tasks):
            share = self.setting.noise * (number + 1) / len(self.tasks)
            rows = task.rows[torch.rand(len(task.rows), generator=random) < share]
            wrong[rows] = y[rows[torch.randperm(len(rows), generator=random)]]
        self.shares = [float((wrong[task.rows] != y[task.rows]).float().mean()) for task in self.tasks]
        return super().training_source(x, wrong)

    def result_fields(self, details: list[dict[str, Any]]) -> dict[str, Any]:
        """What the results hold beside those of every run."""
        return {"wrong_labels": self.shares}


@dataclass
class NoisyLabels(ClassIncrementalSetting, noisy_labels=True):
    """Class-incremental learning from labels that are wrong, in later tasks more often."""

    stream_type: ClassVar[type[SupervisedStream]] = NoisyStream

    noise: float = 0.4  # share of the labels of the last task that are exchanged for others of the task

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        check_range(self, "noise", 0, 1)
