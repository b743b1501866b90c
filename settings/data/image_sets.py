"""The idx file format of MNIST and its relatives, plain or compressed with gzip."""

import contextlib
import gzip
import math
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import DataError
from redwood.core.files import read_bytes
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.download import quiet, reason, staging
from redwood.settings.data.folders import ImageFiles
from redwood.settings.data.holdout import hold_out

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10, SVHN

_UINT8 = 0x08


def find_idx(folders: Iterable[Path], names: list[str]) -> list[Path] | None:
    """Return the paths of all `names`, each plain or with `.gz`, in the first folder that holds them all; else None."""
    for folder in folders:
        found = [path for name in names for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        if {path.name.removesuffix(".gz") for path in found} == set(names):
            return [next(path for path in found if path.name.removesuffix(".gz") == name) for name in names]
    return None


def read_idx(path: Path, n_dimensions: int) -> Tensor:
    """Read a uint8 tensor with `n_dimensions` dimensions from an idx file (LeCun et al., 1998).

    The file is a magic number (two zero bytes, the type, the number of dimensions), the size of each dimension as a
    big-endian int32, then the values.

    Raises:
        DataError: If the file is unreadable, truncated, or holds something else.
    """
    try:
        data = gzip.decompress(read_bytes(path)) if path.suffix == ".gz" else read_bytes(path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"The file {path} cannot be read ({error}); fetch it again.") from error
    start = 4 + 4 * n_dimensions
    header, values = data[:start], data[start:]
    intact = len(header) == start and header[:4] == bytes((0, 0, _UINT8, n_dimensions))
    shape = struct.unpack(f">{n_dimensions}I", header[4:]) if intact else ()
    if not intact or len(values) != math.prod(shape):
        raise DataError(
            f"The file {path} is truncated or no idx file of bytes in {n_dimensions} dimension(s); fetch it again."
        )
    return torch.from_numpy(np.frombuffer(values, dtype=np.uint8).reshape(shape).copy())


def digits(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """Handwritten digits (Alpaydin and Kaynak, 1998): 1,797 images (1, 8, 8) of 10 classes, uint8 in 0..16.

    They come with scikit-learn, so `data_dir` is not read; one fifth of each class, drawn by `seed`, is the test split.
    """
    values = _digits_table()
    train, test = hold_out("digits", values[:, -1], seed)
    x = torch.from_numpy(values[:, :-1].astype(np.uint8)).view(-1, 1, 8, 8)
    y = torch.from_numpy(values[:, -1])
    return Dataset("digits", x[train], y[train], x[test], y[test], max_value=16)


def _digits_table() -> np.ndarray:
    """The pixels of each image (1797, 64) and its label, the last column, from scikit-learn's file.

    The file is read directly, where it is found: importing scikit-learn takes half a second.
    """
    spec = find_spec("sklearn")
    path = Path(spec.origin if spec and spec.origin else "").parent / "datasets" / "data" / "digits.csv.gz"
    if path.is_file():
        return np.loadtxt(path, np.int64, delimiter=",")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target]).astype(np.int64)


def mnist(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """MNIST (LeCun et al., 1998): 60,000 + 10,000 digits (1, 28, 28) of 10 classes."""
    return _idx_set("mnist", "MNIST", data_dir)


def fashion_mnist(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """Fashion-MNIST (Xiao et al., 2017): 60,000 + 10,000 articles of clothing (1, 28, 28) of 10 classes."""
    return _idx_set("fashion_mnist", "FashionMNIST", data_dir)


def kmnist(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """Kuzushiji-MNIST (Clanuwat et al., 2018): 60,000 + 10,000 cursive characters (1, 28, 28) of 10 classes."""
    return _idx_set("kmnist", "KMNIST", data_dir)


def emnist(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """EMNIST, balanced split (Cohen et al., 2017): 112,800 + 18,800 letters and digits (1, 28, 28) of 47 classes.

    The images stand as published, that is transposed.
    """
    return _idx_set("emnist", "EMNIST", data_dir, ("emnist-balanced-train", "emnist-balanced-test"), split="balanced")


def cifar10(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """CIFAR-10 (Krizhevsky, 2009): 50,000 + 10,000 images (3, 32, 32) of 10 classes."""
    return cifar("cifar10", _torchvision().CIFAR10, data_dir)


def cifar100(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """CIFAR-100 (Krizhevsky, 2009): 50,000 + 10,000 images (3, 32, 32) of 100 classes."""
    return cifar("cifar100", _torchvision().CIFAR100, data_dir)


def svhn(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """Street View House Numbers (Netzer et al., 2011): 73,257 + 26,032 images (3, 32, 32) of 10 digits."""
    return house_numbers("svhn", _torchvision().SVHN, data_dir)


def dtd(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """Describable Textures, split 1 (Cimpoi et al., 2014): 3,760 + 1,880 images (3, S, S) of 47 classes, in files.

    The published training and validation images are the training split. S is `image_size`, or 224.
    """

    def read(root: Path, download: bool = False) -> Dataset:
        parts = [_torchvision().DTD(root, split=split, download=download) for split in ("train", "val", "test")]
        files = [ImageFiles(part._image_files, image_size or 224) for part in parts]
        x = ImageFiles(chain(files[0].paths, files[1].paths), image_size or 224)
        y = torch.tensor(parts[0]._labels + parts[1]._labels)
        return Dataset("dtd", x, y, files[2], torch.tensor(parts[2]._labels), max_value=255)

    with contextlib.suppress(RuntimeError):  # torchvision's "not found"
        return read(data_dir)
    _download("dtd", data_dir, "the unpacked folder dtd", lambda root: read(root, download=True))
    return read(data_dir)


def cifar(key: str, source: "type[CIFAR10]", data_dir: Path) -> Dataset:
    """Read `source`, torchvision's CIFAR10 or a subclass of it, from its folder or its archive in `data_dir`."""

    def read(root: Path, download: bool = False) -> Dataset:
        train, test = (source(root, train=part, download=download) for part in (True, False))
        x, x_test = (part.data.transpose(0, 3, 1, 2) for part in (train, test))
        return _images(key, x, train.targets, x_test, test.targets)

    with contextlib.suppress(RuntimeError):  # torchvision's "not found or corrupted"
        return read(data_dir)
    archive = data_dir / source.filename
    if _torchvision().utils.check_integrity(archive, source.tgz_md5):
        with tempfile.TemporaryDirectory() as root, quiet():
            (Path(root) / source.filename).symlink_to(archive.resolve())
            return read(Path(root), download=True)
    needed = f"the folder {source.base_folder} or its archive {source.filename}"
    _download(key, data_dir, needed, lambda root: read(root, download=True))
    return read(data_dir)


def house_numbers(key: str, source: "type[SVHN]", data_dir: Path) -> Dataset:
    """Read `source`, torchvision's SVHN or a subclass of it, from its two .mat files in `data_dir`."""

    def read(root: Path, download: bool = False) -> Dataset:
        train, test = (source(root, split=split, download=download) for split in ("train", "test"))
        return _images(key, train.data, train.labels, test.data, test.labels)

    with contextlib.suppress(RuntimeError):  # torchvision's "not found or corrupted"
        return read(data_dir)
    needed = f"the files {source.split_list['train'][1]} and {source.split_list['test'][1]}"
    _download(key, data_dir, needed, lambda root: read(root, download=True))
    return read(data_dir)


def _idx_set(
    key: str, folder: str, data_dir: Path, parts: tuple[str, str] = ("train", "t10k"), **options: str
) -> Dataset:
    """Read the four files of an MNIST-like set from `data_dir`, or from one of their usual folders in it."""
    names = [f"{part}-{kind}-ubyte" for part in parts for kind in ("images-idx3", "labels-idx1")]
    home = data_dir / folder / "raw"
    places = [home, data_dir / folder, data_dir / key, data_dir / key.replace("_", "-"), data_dir]
    paths = find_idx(places, names)
    if paths is None:
        needed = f"the files {', '.join(names)} (plain or .gz)"
        _download(key, data_dir, needed, lambda root: _fetch_idx(folder, root, options))
        paths = [home / name for name in names]
    x, y, x_test, y_test = (read_idx(path, n) for path, n in zip(paths, (3, 1, 3, 1), strict=True))
    return Dataset(key, x.unsqueeze(1), y.long(), x_test.unsqueeze(1), y_test.long(), max_value=255)


def _torchvision() -> ModuleType:
    """`torchvision.datasets`, which takes seconds to import."""
    from torchvision import datasets

    module: ModuleType = datasets
    return module


def _fetch_idx(class_name: str, root: Path, options: dict[str, str]) -> None:
    for train in (True, False):
        getattr(_torchvision(), class_name)(root, train=train, download=True, **options)


def _download(key: str, data_dir: Path, needed: str, fetch: Callable[[Path], object]) -> None:
    """Let `fetch` download into a temporary folder, whose contents then move into `data_dir`."""
    try:
        with staging(data_dir) as root:
            fetch(root)
    except Exception as error:
        raise DataError(
            f"Data set {key} is not (or not intact) in {data_dir} and could not be downloaded ({reason(error)}): put "
            f"{needed} there, name the folder that holds them with --data_dir, or take --dataset digits or prototypes, "
            "which need no download."
        ) from error


def _images(key: str, x: np.ndarray, y: object, x_test: np.ndarray, y_test: object) -> Dataset:
    """Make a data set of uint8 images (N, C, H, W) and their labels."""
    pixels, pixels_test = (torch.from_numpy(np.ascontiguousarray(images)) for images in (x, x_test))
    return Dataset(key, pixels, torch.as_tensor(y).long(), pixels_test, torch.as_tensor(y_test).long(), max_value=255)
