import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from redwood.core.errors import DataError, InvalidOptionError
from redwood.settings import Arrays, ClassIncrementalSetting, Dataset
from tests.samples import numbered

X, Y = np.zeros((6, 4), np.float32), np.arange(6) % 2
TENSORS = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


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


def loaded(given):
    return ClassIncrementalSetting(dataset=given).dataset.load("data", 0)


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
        (((X, Y),) * 3, r"got a tuple of 3 data sets; for tasks, pass a list of arrays \(x, y\), one pair for each"),
        ([Samples()] * 3, r"a list of 3 data sets; for tasks, .* or Dataset.from_arrays\(x, y, t=t\)"),
        ([Dataset.from_arrays(X, Y, X, Y)] * 3, "got a list of 3 data sets; for tasks, pass a list of arrays"),
        ([(X, Y), (X, Y, X, Y)], "some are .* give test samples to all tasks, or to none"),
        ([(X, Y), Samples()], r"got a list of 2 data sets; for tasks, pass a list of arrays"),
        (
            [TENSORS] * 2,
            r"which may be two tasks, or .* pass \[one.tensors for one in dataset\] for tasks, or the tuple",
        ),
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
    data = loaded(given)
    assert data.class_names == ("n0", "n1") and data.sample_shape == (4,)


def test_a_column_of_pandas_is_read_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = loaded((X, pandas.Series(Y)))
    assert data.n_classes == 2


def test_a_data_set_stays_and_a_path_becomes_its_name():
    data = Dataset.from_arrays(X, Y, X, Y)
    assert ClassIncrementalSetting(dataset=data).dataset.source is data
    assert ClassIncrementalSetting(dataset=Path("folder") / "data.npz").dataset == Arrays(str(Path("folder/data.npz")))


def test_a_setting_shows_no_arrays():
    source = "dataset=DataSource(source=InMemory(name='arrays', kind='arrays'), folders=())"
    assert source in repr(ClassIncrementalSetting(dataset=(X, Y)))


def test_a_tuple_of_two_pairs_is_training_and_test():
    data = loaded(((X, Y), (X[:2] + 1, Y[:2])))
    assert (data.contexts, data.x.sum(), data.x_test.sum(), len(data.y), len(data.y_test)) == (None, 0, 8, 6, 2)


ROWS = np.arange(80, dtype=np.float32).reshape(40, 2)
LABELS = np.arange(40) % 2


def parts(size, *arrays):
    return [tuple(array[start : start + size] for array in arrays) for start in range(0, 40, size)]


@pytest.mark.parametrize(
    "given",
    [
        parts(10, ROWS, LABELS),
        parts(10, torch.from_numpy(ROWS), torch.from_numpy(LABELS)),
        parts(10, ROWS, LABELS.tolist()),
        parts(10, ROWS, np.array(["a", "bb"])[LABELS]),
        [torch.utils.data.TensorDataset(*pair) for pair in parts(10, torch.from_numpy(ROWS), torch.from_numpy(LABELS))],
    ],
)
def test_a_list_of_arrays_has_an_entry_for_each_task(given):
    data = loaded(given)
    for x, y, tasks, n in ((data.x, data.y, data.contexts, 8), (data.x_test, data.y_test, data.contexts_test, 2)):
        assert tasks.tolist() == (x[:, 0] // 20).tolist() and tasks.bincount().tolist() == [n] * 4
        assert y.tolist() == (x[:, 0] // 2 % 2).tolist(), "rows stay together, and labels mean the same in all tasks"
    assert data.note == "arrays: 32 training and 8 test samples in 4 tasks, one for each entry of the list"


def test_tasks_may_have_test_samples():
    data = loaded([(X, Y, X[:4] + 1, Y[:4]), (X + 2, Y + 1, X[:2] + 3, Y[:2] + 1)])
    assert (data.contexts.bincount().tolist(), data.contexts_test.bincount().tolist()) == ([6, 6], [4, 2])
    assert (data.x[:, 0].tolist(), data.x_test[:, 0].tolist()) == ([0] * 6 + [2] * 6, [1] * 4 + [3] * 2)
    assert (data.n_classes, data.y_test.tolist()) == (3, [0, 1, 0, 1, 1, 2])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([(X, Y), (X, Y[:5])], "task 1 has 6 samples x and 5 labels y; give at least one, and as many of both"),
        ([(X, Y), (X[:5], Y), (X, Y[:5])], "task 1 has 5 samples x and 6 labels y"),
        ([(X, Y, X, Y), (X, Y, X[:0], Y[:0])], "task 1 has 0 samples x_test and 0 labels y_test"),
        (
            [(X, Y), (X[:, :3], Y)],
            r"x of task 1 holds floats of shape \(3,\), and that of task 0 floats of shape \(4,\)",
        ),
        ([(X, Y), (X, Y + 0.5)], "y of task 1 holds floats, and that of task 0 int64; make them alike"),
        ([(X, Y), (X, ["a", "b"] * 3)], "y of task 1 holds texts, and that of task 0 int64"),
        ([(X.astype(np.uint8), Y), (X, Y)], r"x of task 1 holds floats of .* task 0 uint8 of shape"),
    ],
)
def test_tasks_that_do_not_fit_together(given, sentence):
    with pytest.raises(DataError, match=sentence):
        loaded(given)
