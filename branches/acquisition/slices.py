"""The tasks of a setting that sells samples: the slices of the data."""

from dataclasses import dataclass

import torch
from typing_extensions import override

from redwood.core.errors import DataError
from redwood.core.parts import Kind
from redwood.settings.data.dataset import Dataset
from redwood.settings.streams.cuts import OfOneDataSet
from redwood.settings.streams.tasks import Cut, SupervisedTask, Tasks


@dataclass
class Slices(OfOneDataSet):
    """A task for each slice: for each group of the data's column of slices, or else for each class."""

    @property
    @override
    def sets_number(self) -> bool:
        return True

    @override
    def tasks(self, data: Dataset, cut: Cut) -> Tasks:
        if data.slices is not None and data.slices_test is not None:
            splits = data.slices, data.slices_test
        else:
            splits = data.y, data.y_test
        label_map = torch.arange(data.n_outputs)
        tasks = []
        for number in range(int(splits[0].max()) + 1):
            rows, rows_test = ((split == number).nonzero().flatten() for split in splits)
            if not len(rows_test):
                raise DataError(f"The slice of class {number} of {data.name} has no test sample; add some.")
            tasks.append(SupervisedTask(rows, rows_test, label_map))
        return tasks, data.n_outputs


SLICES = Kind("stream", Slices, "redwood.acquisition_streams")
SLICES.register("slices")(Slices)
