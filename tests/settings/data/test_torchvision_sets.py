import gzip
import hashlib
import pickle
import struct
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import torchvision

from redwood.core.errors import DataError
from redwood.settings.data.catalog import load_dataset
from redwood.settings.data.image_sets import cifar, house_numbers
from tests.settings.data.local_server import cut_network, serving, tree

IDX = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST", "emnist": "EMNIST"}
DEBIAN = Path("/usr/share/datasets")


def idx_names(key):
    parts = ("emnist-balanced-train", "emnist-balanced-test") if key == "emnist" else ("train", "t10k")
    return [f"{part}-{kind}-ubyte" for part in parts for kind in ("images-idx3", "labels-idx1")]


def idx_arrays(key):
    rng = np.random.default_rng(len(key))
    return [
        rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        np.arange(20, dtype=np.uint8) % 10,
        rng.integers(0, 256, (10, 28, 28), dtype=np.uint8),
        np.arange(10, dtype=np.uint8)[::-1].copy(),
    ]


def write_idx(folder, key, compress):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(idx_names(key), idx_arrays(key), strict=True):
        data = struct.pack(f">{1 + array.ndim}i", 0x0800 + array.ndim, *array.shape) + array.tobytes()
        path = folder / (f"{name}.gz" if compress else name)
        path.write_bytes(gzip.compress(data) if compress else data)


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


class TestIdx:
    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize("place", ["{class_}/raw", "{class_}", "{key}", "{dashed}", "."])
    @pytest.mark.parametrize("key", IDX)
    def test_read_from_every_customary_folder(self, tmp_path, key, place, compress):
        folder = place.format(class_=IDX[key], key=key, dashed=key.replace("_", "-"))
        write_idx(tmp_path / folder, key, compress)
        before = tree(tmp_path)
        data = load_dataset(key, tmp_path, 0, 0)
        x, y, x_test, y_test = idx_arrays(key)
        assert np.array_equal(data.x.numpy(), x[:, None])
        assert np.array_equal(data.x_test.numpy(), x_test[:, None])
        assert (data.y.tolist(), data.y_test.tolist()) == (y.tolist(), y_test.tolist())
        assert (data.x.dtype, data.y.dtype, data.max_value, data.name) == (torch.uint8, torch.int64, 255, key)
        assert tree(tmp_path) == before

    def test_the_set_that_was_asked_for_comes_before_loose_files(self, tmp_path):
        write_idx(tmp_path / "kmnist", "kmnist", compress=True)
        write_idx(tmp_path, "fashion_mnist", compress=True)
        data = load_dataset("kmnist", tmp_path, 0, 0)
        assert np.array_equal(data.x[:, 0].numpy(), idx_arrays("kmnist")[0])

    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize("size", [0, 3, 11, 200])
    def test_truncated_file_is_refused(self, tmp_path, compress, size):
        write_idx(tmp_path, "mnist", compress)
        path = next(tmp_path.glob("train-images*"))
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(DataError, match=r"train-images-idx3-ubyte.* (truncated|cannot be read).*fetch it again"):
            load_dataset("mnist", tmp_path, 0, 0)

    def test_labels_in_the_place_of_images_are_refused(self, tmp_path):
        write_idx(tmp_path, "mnist", compress=False)
        labels = (tmp_path / "train-labels-idx1-ubyte").read_bytes()
        (tmp_path / "train-images-idx3-ubyte").write_bytes(labels)
        with pytest.raises(DataError, match=r"no idx file of bytes in 3 dimension"):
            load_dataset("mnist", tmp_path, 0, 0)

    def test_download_arrives_where_torchvision_finds_it(self, tmp_path, monkeypatch, capfd):
        write_idx(tmp_path / "server", "kmnist", compress=True)
        served = [tmp_path / "server" / f"{name}.gz" for name in idx_names("kmnist")]
        monkeypatch.setattr(torchvision.datasets.KMNIST, "resources", [(path.name, md5(path)) for path in served])
        with serving(tmp_path / "server") as address:
            monkeypatch.setattr(torchvision.datasets.KMNIST, "mirrors", [address])
            data = load_dataset("kmnist", tmp_path / "data", 0, 0)
        assert np.array_equal(data.x[:, 0].numpy(), idx_arrays("kmnist")[0])
        assert capfd.readouterr() == ("", "")
        assert [path.name for path in (tmp_path / "data").iterdir()] == ["KMNIST"]
        assert len(torchvision.datasets.KMNIST(tmp_path / "data")) == 20
        assert len(load_dataset("kmnist", tmp_path / "data", 0, 0).x) == 20

    @pytest.mark.skipif(not (DEBIAN / "fashion-mnist").is_dir(), reason="needs Debian's package dataset-fashion-mnist")
    @pytest.mark.parametrize("folder", [DEBIAN, DEBIAN / "fashion-mnist"])
    def test_debians_fashion_mnist(self, folder):
        data = load_dataset("fashion_mnist", folder, 0, 0)
        assert (data.x.shape, data.x_test.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
        assert torch.bincount(data.y).tolist() == [6000] * 10
        assert torch.bincount(data.y_test).tolist() == [1000] * 10
        assert 72 < data.x.float().mean() < 74  # published mean 0.2860 of 255


class TestCifar:
    """A subclass of torchvision's reader with checksums of its own, just as its CIFAR100 is one of CIFAR10."""

    @pytest.fixture(params=["labels", "fine_labels"])
    def source(self, tmp_path, request):
        base = tmp_path / "made" / "cifar-tiny"
        base.mkdir(parents=True)
        rng = np.random.default_rng(0)
        for number, name in enumerate(("data_batch_1", "data_batch_2", "test_batch")):
            pixels = rng.integers(0, 256, (10, 3072), dtype=np.uint8)
            labels = [(i + number) % 10 for i in range(10)]
            (base / name).write_bytes(pickle.dumps({"data": pixels, request.param: labels}))
        (base / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
        archive = tmp_path / "made" / "tiny.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(base, "cifar-tiny")
        checked = {path.name: md5(path) for path in base.iterdir()}
        attributes = {
            "base_folder": "cifar-tiny",
            "url": "http://unreachable.invalid/tiny.tar.gz",
            "filename": "tiny.tar.gz",
            "tgz_md5": md5(archive),
            "train_list": [[name, checked[name]] for name in ("data_batch_1", "data_batch_2")],
            "test_list": [["test_batch", checked["test_batch"]]],
            "meta": {"filename": "batches.meta", "key": "label_names", "md5": checked["batches.meta"]},
        }
        return type("TinyCIFAR", (torchvision.datasets.CIFAR10,), attributes)

    def check(self, data, made):
        batches = [pickle.loads((made / "cifar-tiny" / f"data_batch_{n}").read_bytes())["data"] for n in (1, 2)]
        assert np.array_equal(data.x.numpy(), np.concatenate(batches).reshape(-1, 3, 32, 32))
        assert data.x.is_contiguous()
        assert (data.x.dtype, data.x_test.shape, data.max_value) == (torch.uint8, (10, 3, 32, 32), 255)
        assert data.y.tolist() == [*range(10), *range(1, 10), 0]
        assert data.y_test.tolist() == [*range(2, 10), 0, 1]

    def test_read_from_its_folder(self, source, tmp_path):
        (tmp_path / "made" / "tiny.tar.gz").unlink()
        before = tree(tmp_path / "made")
        self.check(cifar("tiny", source, tmp_path / "made"), tmp_path / "made")
        assert tree(tmp_path / "made") == before

    def test_read_from_its_archive_without_writing_beside_it(self, source, tmp_path):
        (tmp_path / "data").mkdir()
        (tmp_path / "made" / "tiny.tar.gz").rename(tmp_path / "data" / "tiny.tar.gz")
        self.check(cifar("tiny", source, tmp_path / "data"), tmp_path / "made")
        assert [path.name for path in (tmp_path / "data").iterdir()] == ["tiny.tar.gz"]

    def test_download(self, source, tmp_path, capfd):
        with serving(tmp_path / "made") as address:
            source.url = address + "tiny.tar.gz"
            self.check(cifar("tiny", source, tmp_path / "data"), tmp_path / "made")
        assert capfd.readouterr() == ("", "")
        self.check(cifar("tiny", source, tmp_path / "data"), tmp_path / "made")

    def test_damaged_download_is_refused_and_leaves_nothing(self, source, tmp_path):
        archive = tmp_path / "made" / "tiny.tar.gz"
        archive.write_bytes(archive.read_bytes()[:-100])
        with serving(tmp_path / "made") as address:
            source.url = address + "tiny.tar.gz"
            with pytest.raises(DataError, match=r"could not be downloaded.* take --dataset digits or prototypes"):
                cifar("tiny", source, tmp_path / "data")
        assert not (tmp_path / "data").exists()

    def test_damaged_file_is_not_read(self, source, tmp_path, monkeypatch):
        cut_network(monkeypatch)
        (tmp_path / "made" / "tiny.tar.gz").unlink()
        path = tmp_path / "made" / "cifar-tiny" / "data_batch_2"
        path.write_bytes(path.read_bytes()[:-1])
        before = tree(tmp_path / "made")
        with pytest.raises(DataError, match=r"not intact.*folder cifar-tiny or its archive tiny\.tar\.gz"):
            cifar("tiny", source, tmp_path / "made")
        assert tree(tmp_path / "made") == before


def test_svhn_reads_its_matrices_and_calls_the_digit_zero_zero(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (32, 32, 3, 20), dtype=np.uint8)
    digits = np.arange(20)[:, None] % 10 + 1  # published with 10 for the digit 0
    files = {"train": tmp_path / "train_32x32.mat", "test": tmp_path / "test_32x32.mat"}
    for path in files.values():
        scipy.io.savemat(path, {"X": pixels, "y": digits})
    split_list = {split: ["http://unreachable.invalid", path.name, md5(path)] for split, path in files.items()}
    data = house_numbers("tiny", type("TinySVHN", (torchvision.datasets.SVHN,), {"split_list": split_list}), tmp_path)
    assert np.array_equal(data.x.numpy(), pixels.transpose(3, 2, 0, 1))
    assert (data.x.dtype, data.x.is_contiguous(), data.max_value) == (torch.uint8, True, 255)
    assert data.y.tolist() == (digits[:, 0] % 10).tolist()


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        *((key, ", ".join(idx_names(key))) for key in IDX),
        ("cifar10", "the folder cifar-10-batches-py or its archive cifar-10-python.tar.gz"),
        ("cifar100", "the folder cifar-100-python or its archive cifar-100-python.tar.gz"),
        ("svhn", "the files train_32x32.mat and test_32x32.mat"),
    ],
)
def test_without_data_and_network_one_sentence_says_what_to_put_where(tmp_path, monkeypatch, capfd, key, wanted):
    cut_network(monkeypatch)
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        load_dataset(key, tmp_path / "data", 0, 0)
    assert time.monotonic() - start < 5
    message = str(caught.value)
    assert wanted in message
    assert all(words in message for words in (key, str(tmp_path / "data"), "--data_dir", "Name or service not known"))
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
