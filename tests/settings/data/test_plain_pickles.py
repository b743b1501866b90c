"""No reader of another package runs what lies in the data folder."""

import io
import pickle
import re
import tarfile
from collections import defaultdict
from pathlib import Path

import continuum.datasets
import numpy as np
import pytest
import torchvision.datasets
from PIL import Image

from redwood.core.errors import DataError
from redwood.settings.data.catalog import load_dataset
from redwood.settings.data.download import staging
from redwood.settings.data.plain_pickles import plain_pickles
from tests.cli.foreign_files import Trap
from tests.settings.data.local_server import cut_network


@pytest.fixture
def metashift(tmp_path):
    """The folder of MetaShift, with four images and a pickle of these contexts."""

    def write(contexts: object) -> Path:
        (tmp_path / "full-candidate-subsets.pkl").write_bytes(pickle.dumps(contexts))
        (tmp_path / "MetaShift" / "images").mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8)).save(tmp_path / "MetaShift" / "images" / f"{number}.jpg")
        return tmp_path

    return write


def test_metashift_reads_plain_values(metashift):
    folder = metashift({"cat(sofa)": {"0", "1"}, "dog(park)": ["2", "3"]})
    data = load_dataset("continuum:MetaShift", folder, 0, 8)
    assert data.y.tolist() == [0, 0, 1, 1] and data.sample_shape == (3, 8, 8)


@pytest.mark.parametrize("place", ["a value", "the file"])
def test_metashift_runs_no_code(place, metashift, tmp_path, monkeypatch):
    cut_network(monkeypatch)
    trap = Trap(tmp_path / "executed")
    folder = metashift(trap if place == "the file" else {"cat(sofa)": trap})
    with pytest.raises(DataError, match=r"a pickle that would run code, posix\.mkdir, and it is not read"):
        load_dataset("continuum:MetaShift", folder, 0, 8)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_values_and_arrays_are_plain(protocol):
    values = {"x": np.arange(6, dtype=np.uint8).reshape(2, 3), "n": np.float32(1), "s": {1}, "d": defaultdict(list)}
    usual = pickle.load
    with plain_pickles():
        read = pickle.load(io.BytesIO(pickle.dumps(values, protocol)))
    assert pickle.load is usual
    assert read["x"].tolist() == values["x"].tolist() and read["s"] == {1} and read["n"] == 1


def test_cifar_is_compared_with_published_sums_before(tmp_path, monkeypatch):
    cut_network(monkeypatch)
    for folder, files in {
        "cifar-10-batches-py": [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"],
        "cifar-100-python": ["train", "test", "meta"],
    }.items():
        (tmp_path / folder).mkdir()
        for name in files:
            (tmp_path / folder / name).write_bytes(pickle.dumps(Trap(tmp_path / "executed")))
    for name in ("cifar10", "cifar100", "continuum:CIFAR10", "continuum:CIFAR100"):
        with pytest.raises(DataError, match=r"is not .* intact"):
            load_dataset(name, tmp_path, 0, 0)
    assert not (tmp_path / "executed").exists()


def test_no_other_reader_unpickles():
    """The files of both packages in which `plain_pickles` would have to know another function."""
    unpickles = re.compile(
        r"\b(?:pickle|pkl|cPickle|dill|joblib|marshal|shelve)\.\w*(?:load|open|Unpickler)|read_pickle|allow_pickle|"
        r"from (?:pickle|joblib|dill|marshal|shelve) import|torch\.load\((?!.*weights_only=True)|yaml\.(?:unsafe_)?load"
    )
    found = {
        f"{package.__name__.partition('.')[0]}/{path.name}"
        for package in (continuum.datasets, torchvision.datasets)
        for path in Path(str(package.__file__)).parent.glob("*.py")
        if unpickles.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"continuum/metashift.py", "torchvision/cifar.py", "torchvision/lsun.py"}  # of LSUN is no name


@pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="Python before 3.11.4 cannot look at archives")
def test_an_archive_writes_into_its_folder_alone(tmp_path):
    """Readers of continuum unpack what lies in the data folder."""
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("../outside"), io.BytesIO())
    data = tmp_path / "data"
    with pytest.raises(tarfile.FilterError), staging(data) as folder, tarfile.open(tmp_path / "data.tar") as archive:
        archive.extractall(folder / "inner")
    assert not data.exists()
