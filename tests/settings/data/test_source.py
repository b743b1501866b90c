from pathlib import Path

import numpy as np
import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.settings import Arrays, ClassIncrementalSetting, Dataset
from tests.samples import numbered

X, Y = np.zeros((6, 4), np.float32), np.arange(6) % 2


class Samples(torch.utils.data.Dataset):
    """A data set as torch has them."""

    def __getitem__(self, index):
        return X[index], Y[index]


class Stream(torch.utils.data.IterableDataset):
    """A data set of torch without numbers of samples."""

    def __iter__(self):
        return iter([(X[0], Y[0])])


def make(data_dir, seed, image_size):
    return numbered()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((X, Y, X), r"got a tuple of 3; make a data set by Dataset.from_arrays\(x, y, x_test, y_test\) of arrays"),
        ((Samples(), X), "got a tuple of 2; make"),
        (Stream(), "got a Stream, which is read in one direction only; pass one whose samples can be indexed"),
        (Samples, "got the class Samples; pass an instance"),
        (make, "got the function make; pass what it returns"),
        (X, "got a ndarray; make a data set"),
        (None, "got a NoneType; make a data set"),
    ],
)
def test_what_is_no_data_set_is_told_with_the_way_to_make_one(given, sentence):
    with pytest.raises(InvalidOptionError, match=sentence):
        ClassIncrementalSetting(dataset=given)


def test_a_data_set_stays_and_a_path_becomes_its_name():
    data = Dataset.from_arrays(X, Y, X, Y)
    assert ClassIncrementalSetting(dataset=data).dataset.source is data
    assert ClassIncrementalSetting(dataset=Path("folder") / "data.npz").dataset == Arrays(str(Path("folder/data.npz")))
