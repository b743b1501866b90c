"""Slices from arrays and files."""

import h5py
import numpy as np
import pytest
import torch

from redwood.core.errors import DataError
from redwood.settings.data.dataset import Dataset, describe_data
from redwood.settings.data.files import load

X, X_TEST = np.zeros((6, 2), np.float32), np.zeros((4, 2), np.float32)
Y, Y_TEST = np.arange(6) % 2, np.arange(4) % 2


def made(slices, slices_test):
    return Dataset.from_arrays(X, Y, X_TEST, Y_TEST, slices=slices, slices_test=slices_test)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["b", "a", "a"], ("a", "b")),
        ([20, 10, 10], ("10", "20")),
        ([2.5, 1.0, 1.0], ("1", "2.5")),
        ([True, False, False], ("False", "True")),
        ([b"b", b"a", b"a"], ("a", "b")),
    ],
)
def test_numbers_and_strings_are_numbered(values, names):
    data = made(np.array(values * 2), np.array((values * 2)[:4]))
    assert data.slice_names == names
    assert data.slices.tolist() == [1, 0, 0, 1, 0, 0] and data.slices_test.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("slices", "slices_test", "words"),
    [
        (np.arange(6), np.zeros(4, int), "slice '1' has no test sample"),
        (np.zeros(6, int), np.arange(4), "slice '1' has no training sample"),
        (np.zeros(6, int), None, "or for neither"),
        (np.zeros(5, int), np.zeros(4, int), "6 training samples need as many slices"),
        (np.zeros((6, 1)), np.zeros((4, 1)), "in one dimension"),
        (np.array([0, np.nan, 0, 0, 0, 0]), np.zeros(4), "NaN"),
        (np.zeros(6, int), np.array(["a"] * 4), "make them alike"),
        (np.array([None] * 6), np.array([None] * 4), "numbers or strings"),
    ],
)
def test_bad_slices(slices, slices_test, words):
    with pytest.raises(DataError, match=words):
        made(slices, slices_test)


def test_slices_need_names():
    codes, codes_test = torch.arange(6) % 2, torch.arange(4) % 2
    x, y, x_test, y_test = map(torch.as_tensor, (X, Y, X_TEST, Y_TEST))
    with pytest.raises(DataError, match="none of the 1 slices"):
        Dataset("d", x, y, x_test, y_test, slices=codes, slices_test=codes_test, slice_names=("only",))


def test_fingerprint_tells_slices_apart():
    one, other = (made(np.roll(np.arange(6) % 2, shift), np.arange(4) % 2) for shift in (0, 1))
    assert describe_data(one) != describe_data(other)


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_a_column_is_split_along_with_the_samples(tmp_path, suffix):
    x = np.arange(40, dtype=np.float32)[:, None]
    region = np.where(np.arange(40) % 4 < 2, "even", "odd")
    path = tmp_path / f"a{suffix}"
    if suffix == ".npz":
        np.savez(path, x=x, y=np.arange(40) % 2, region=region)
    else:
        with h5py.File(path, "w") as file:
            file.update({"x": x, "y": np.arange(40) % 2, "region": region.astype("S")})
    data = load(path, 0, "region")
    for samples, slices in ((data.x, data.slices), (data.x_test, data.slices_test)):
        names = [data.slice_names[code] for code in slices.tolist()]
        assert names == [region[int(value)] for value in samples[:, 0]]
    assert load(path, 0).slices is None
