import subprocess
import sys

import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset

from redwood.core import registry
from redwood.core.errors import DataError, InvalidOptionError, RedwoodError, UnknownNameError
from redwood.core.registry import look_up
from redwood.settings.data.catalog import load_dataset, load_in_memory
from redwood.settings.data.conversion import checked_source
from redwood.settings.data.dataset import Dataset, describe_data
from redwood.settings.data.table import DATASETS


def tiny_source(data_dir, seed, image_size):
    x = torch.full((4, 1, 6, 6), seed, dtype=torch.uint8)
    return Dataset.from_arrays(x, torch.tensor([0, 1, 0, 1]), x, torch.tensor([0, 1, 0, 1]), name=str(data_dir))


def vector_source(data_dir, seed, image_size):
    x = torch.eye(2)
    return Dataset.from_arrays(x, torch.arange(2), x, torch.arange(2), name="vectors")


def array_source(data_dir, seed, image_size):
    return np.zeros(3)


def name_source(data_dir, seed, image_size):
    return "digits"


def wrong_source(data_dir):
    return None


X, Y = np.arange(40, dtype=np.float32).reshape(20, 2), np.arange(20) % 2
RETURNED = {
    "arrays": (X, Y),
    "tensors": (torch.from_numpy(X), torch.from_numpy(Y)),
    "a data set of torch": TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
    "a table": pandas.DataFrame({"a": X[:, 0], "b": X[:, 1], "target": Y}),
}
PAIRS = {
    "four arrays": (X[5:], Y[5:], X[:5], Y[:5]),
    "a pair of data sets of torch": tuple(
        Subset(RETURNED["a data set of torch"], rows) for rows in (range(5, 20), range(5))
    ),
}


def returned_source(data_dir, seed, image_size):
    return returned_source.value


@pytest.mark.parametrize("key", sorted(DATASETS))
def test_every_key_is_a_function(key):
    assert callable(look_up("data set", key, DATASETS, "redwood.datasets"))


def test_importing_the_table_imports_nothing_heavy():
    code = "import sys, redwood.settings.data.table; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "torchvision", "sklearn", "scipy", "h5py", "PIL", "continuum", "matplotlib"}
    assert heavy.isdisjoint(loaded)


def test_unknown_key_names_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean cifar100"):
        load_dataset("cifar1000", tmp_path, 0, 0)


def test_function_of_a_module_gets_all_arguments(tmp_path):
    data = load_dataset(f"{__name__}:tiny_source", tmp_path, seed=7, image_size=0)
    assert data.name == str(tmp_path)
    assert data.x.unique().tolist() == [7]


def test_function_of_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import numpy as np\nfrom redwood.settings.data.dataset import Dataset\n"
        "def source(data_dir, seed, image_size):\n"
        "    return Dataset.from_arrays(np.eye(3), np.arange(3), np.eye(3), np.arange(3))\n"
    )
    assert load_dataset(f"{path}:source", tmp_path, 0, 0).n_classes == 3
    with pytest.raises(RedwoodError, match="does not exist"):
        load_dataset(f"{tmp_path / 'other.py'}:source", tmp_path, 0, 0)


@pytest.mark.parametrize("value", RETURNED.values(), ids=RETURNED)
def test_a_function_returns_what_the_option_takes_from_python(tmp_path, monkeypatch, value):
    monkeypatch.setattr(returned_source, "value", value, raising=False)
    data = load_dataset(f"{__name__}:returned_source", tmp_path, 0, 0)
    assert sorted(torch.cat([data.x, data.x_test])[:, 0].tolist()) == X[:, 0].tolist()
    assert torch.equal(data.y, data.x[:, 0].long() // 2 % 2) and data.y_test.bincount().tolist() == [2, 2]
    assert describe_data(data) == describe_data(load_in_memory(checked_source(value), 0, 0))


@pytest.mark.parametrize("value", PAIRS.values(), ids=PAIRS)
def test_a_function_may_return_test_samples_too(tmp_path, monkeypatch, value):
    monkeypatch.setattr(returned_source, "value", value, raising=False)
    data = load_dataset(f"{__name__}:returned_source", tmp_path, 0, 0)
    assert (data.x_test[:, 0].tolist(), data.y.tolist()) == (X[:5, 0].tolist(), Y[5:].tolist())


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="there are 20 samples, but 19 labels"):
        load_in_memory(checked_source((X, Y[1:])), 0, 0)


def test_entry_point_of_another_package(tmp_path, monkeypatch):
    entry = ("theirs", f"{__name__}:tiny_source")
    monkeypatch.setattr(registry, "entries", lambda group: [entry] if group == "redwood.datasets" else [])
    assert len(load_dataset("theirs", tmp_path, 0, 0).x) == 4


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("array_source", "that returns a data set, but what it returned is none: .* got a ndarray"),
        ("name_source", "it returned a str; name that by --dataset"),
        ("wrong_source", r"it takes \(data_dir\)"),
        ("DATASETS", "it is a dict"),
    ],
)
def test_what_is_no_data_source_is_refused(tmp_path, name, words):
    with pytest.raises(DataError, match=words):
        load_dataset(f"{__name__}:{name}", tmp_path, 0, 0)


def test_file_is_found_by_its_path_and_in_the_data_folder(tmp_path):
    arrays = {"x": np.eye(4, dtype=np.float32), "y": np.array([0, 1, 0, 1])}
    np.savez(tmp_path / "mine.npz", **arrays, x_test=arrays["x"], y_test=arrays["y"])
    for name, folder in ((str(tmp_path / "mine.npz"), tmp_path / "elsewhere"), ("mine.npz", tmp_path)):
        data = load_dataset(name, folder, 0, 0)
        assert (data.name, tuple(data.x.shape)) == ("mine", (4, 4))


def test_images_are_brought_to_the_size_asked_for(tmp_path):
    data = load_dataset(f"{__name__}:tiny_source", tmp_path, seed=9, image_size=12)
    assert (tuple(data.x.shape), tuple(data.x_test.shape)) == ((4, 1, 12, 12), (4, 1, 12, 12))
    assert (data.x.dtype, data.x.unique().tolist(), data.max_value) == (torch.uint8, [9], 255)


@pytest.mark.parametrize("side", [5, 20])
def test_resizing_agrees_with_pillow(tmp_path, side):
    images, resized = (load_dataset("digits", tmp_path, 0, size).x[:20, 0].numpy() for size in (0, side))
    assert resized.dtype == np.uint8
    for image, result in zip(images, resized, strict=True):
        wanted = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))
        assert np.abs(result.astype(int) - wanted).max() <= 1
        assert wanted.max() > 5


def test_image_size_that_cannot_be_honoured_is_refused(tmp_path):
    with pytest.raises(InvalidOptionError, match="number of pixels"):
        load_dataset("digits", tmp_path, 0, -1)
    with pytest.raises(InvalidOptionError, match="leave it out"):
        load_dataset(f"{__name__}:vector_source", tmp_path, 0, 32)
