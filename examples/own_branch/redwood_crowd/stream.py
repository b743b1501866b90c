"""The stream of the setting: before anything is learned, the members of the crowd label the training samples."""

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from redwood.core.errors import NotApplicableError
from redwood.core.seeding import generator
from redwood.settings import Dataset, Results
from redwood.settings.data.arrays import Samples
from redwood.settings.streams.batches import Source
from redwood.settings.streams.supervised_stream import SupervisedStream
from redwood_crowd.results import CrowdResults

if TYPE_CHECKING:
    from redwood_crowd.setting import CrowdSetting


class CrowdStream(SupervisedStream):
    """A stream whose training labels come from the members of a crowd, each sample's from one of them."""

    setting: "CrowdSetting"
    results_of_classes: ClassVar[type[Results]] = CrowdResults

    def check_data(self, data: Dataset) -> None:
        """Raise `NotApplicableError` for data without classes."""
        if data.kind != "classes":
            raise NotApplicableError(
                f"A crowd gives each sample one class, and {data.name} has none; choose other data."
            )
        super().check_data(data)

    def training_source(self, x: Samples, y: Tensor) -> Source:
        """The samples (N, ...), with labels (N,) of which members have exchanged some within each task."""
        rates, random = torch.tensor(self.setting.members.error_rates()), generator(self.setting.seed, "crowd")
        member, labels = torch.randint(len(rates), (len(y),), generator=random), y.clone()
        wrong = torch.rand(len(y), generator=random) < rates[member]
        for task in self.tasks:
            rows = task.rows[wrong[task.rows]]
            labels[rows] = y[rows[torch.randperm(len(rows), generator=random)]]
        self._wrong = [float((labels != y)[member == number].float().mean()) for number in range(len(rates))]
        return super().training_source(x, labels)

    def result_fields(self, details: list[dict[str, Any]]) -> dict[str, Any]:
        """What the results hold beside those of every run."""
        return {"wrong_labels": self._wrong}
