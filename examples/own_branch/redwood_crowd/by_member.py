"""A stream for any setting of redwood: a task for each part of the samples, as if members had brought them in turn."""

from dataclasses import dataclass

import torch

from redwood.settings.data.dataset import Dataset
from redwood.settings.streams.tasks import Cut, StreamPart, SupervisedTask, Tasks


@dataclass
class ByMember(StreamPart):
    """Tasks of equal size, whose samples have the same classes and come from one member each."""

    def tasks(self, data: Dataset, cut: Cut) -> Tasks:
        """The samples of each member, for training and test."""
        count, label_map = cut.num_tasks or 5, torch.arange(data.n_outputs)
        rows, rows_test = (
            [torch.arange(number, len(y), count) for number in range(count)] for y in (data.y, data.y_test)
        )
        return [SupervisedTask(*pair, label_map) for pair in zip(rows, rows_test, strict=True)], data.n_outputs
