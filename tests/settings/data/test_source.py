import warnings
from pathlib import Path

import numpy as np
import pandas
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
        (
            (X, Y, X),
            r"got a tuple of 3 \(ndarray \(6, 4\) float32, ndarray \(6,\) int64, ndarray .*\); make a data set by "
            r"Dataset.from_arrays\(x, y, x_test, y_test\) of arrays",
        ),
        ((Samples(), X), r"got a tuple of 2 \(Samples, ndarray \(6, 4\) float32\); make"),
        ((X, "y"), r"\(ndarray \(6, 4\) float32, str\)"),
        ({"x": X, "y": Y}, "got a dict; make a data set"),
        ([(X, Y), (X, Y)], r"got a list of 2 data sets; for tasks, join them and pass Dataset.from_arrays\(x, y, t=t"),
        ([Dataset.from_arrays(X, Y, X, Y)] * 3, r"got a list of 3 data sets; for tasks, join them and pass"),
        (Stream(), "got a Stream, which is read in one direction only; pass one .* live stream as docs"),
        (iter([1]), "got a list_iterator, which is read in one direction only"),
        (Samples, "got the class Samples; pass an instance"),
        (make, "got the function make; pass what it returns"),
        (X, "got a ndarray; make a data set"),
        (None, "got a NoneType; make a data set"),
    ],
)
def test_what_is_no_data_set_is_told_with_the_way_to_make_one(given, sentence):
    with pytest.raises(InvalidOptionError, match=sentence):
        ClassIncrementalSetting(dataset=given)


NAMES = ["n0", "n1"] * 3


@pytest.mark.parametrize(
    "given",
    [
        (X, NAMES),
        (X.tolist(), NAMES),
        (torch.from_numpy(X), tuple(NAMES)),
        (X, pandas.Series(NAMES)),
        (pandas.DataFrame(X), pandas.Series(NAMES)),
        [X[:4], NAMES[:4], X[4:], NAMES[4:]],
    ],
)
def test_labels_may_be_lists_and_columns(given):
    data = ClassIncrementalSetting(dataset=given).dataset.load("data", 0)
    assert data.class_names == ("n0", "n1") and data.sample_shape == (4,)


def test_a_column_of_pandas_is_read_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = ClassIncrementalSetting(dataset=(X, pandas.Series(Y))).dataset.load("data", 0)
    assert data.n_classes == 2


def test_a_data_set_stays_and_a_path_becomes_its_name():
    data = Dataset.from_arrays(X, Y, X, Y)
    assert ClassIncrementalSetting(dataset=data).dataset.source is data
    assert ClassIncrementalSetting(dataset=Path("folder") / "data.npz").dataset == Arrays(str(Path("folder/data.npz")))
