"""Image sets that stay in files, which are decoded when a batch needs them, several at a time."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import DataError
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.holdout import hold_out

_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # those of torchvision


class ImageFiles:
    """Images (N, 3, S, S), uint8, each decoded from its file when it is indexed (implements `Samples`).

    Args:
        paths: File of each sample.
        image_size: Side S in pixels that every image is resized to (bilinear).
    """

    dtype = torch.uint8

    def __init__(self, paths: Iterable[str | Path], image_size: int) -> None:
        self.paths = [str(path) for path in paths]
        self.image_size = image_size
        self._threads: tuple[int, ThreadPoolExecutor] | None = None

    @property
    def shape(self) -> torch.Size:
        """Shape (N, 3, S, S)."""
        return torch.Size((len(self.paths), 3, self.image_size, self.image_size))

    def __len__(self) -> int:
        """Number of images N."""
        return len(self.paths)

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """Decode the images `index` (B,) into one uint8 tensor (B, 3, S, S).

        Raises:
            DataError: If a file is missing or is no readable image.
        """
        paths = [self.paths[i] for i in index.tolist()]
        images = np.empty((len(paths), self.image_size, self.image_size, 3), dtype=np.uint8)
        for i, image in enumerate(self._pool().map(self._decode, paths)):
            images[i] = image
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def __getstate__(self) -> dict[str, Any]:
        """The state without the threads: another process starts its own."""
        return {**self.__dict__, "_threads": None}

    def _pool(self) -> ThreadPoolExecutor:
        # A forked process inherits the pool but not its threads, and would wait for them for ever.
        if self._threads is None or self._threads[0] != os.getpid():
            self._threads = (os.getpid(), ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)))
        return self._threads[1]

    def _decode(self, path: str) -> np.ndarray:
        from PIL import Image

        size = (self.image_size, self.image_size)
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises
            raise DataError(f"The image {path} cannot be read ({error}); replace it or remove it.") from error
        return np.asarray(image if image.size == size else image.resize(size, Image.Resampling.BILINEAR))


def image_folder(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """Any images in one folder per class, 224 pixels wide unless told otherwise.

    With folders `train` and `test` (or `val`) in `data_dir`, these hold the class folders; else one fifth of each
    class, drawn by `seed`, is the test split. Classes are numbered in the order of their names.

    Raises:
        DataError: If there are fewer than two class folders, or one of them holds no image.
    """
    test_dir = next((data_dir / name for name in ("test", "val") if (data_dir / name).is_dir()), None)
    size, name = image_size or 224, data_dir.resolve().name
    if test_dir is not None and (data_dir / "train").is_dir():
        classes = _class_folders(data_dir / "train")
        return _dataset(name, size, _labelled(data_dir / "train", classes), _labelled(test_dir, classes))
    paths, labels = _labelled(data_dir, _class_folders(data_dir))
    train, test = (index.tolist() for index in hold_out(name, np.array(labels), seed))
    return _dataset(
        name,
        size,
        ([paths[i] for i in train], [labels[i] for i in train]),
        ([paths[i] for i in test], [labels[i] for i in test]),
    )


def tiny_imagenet(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """Tiny ImageNet (Stanford CS231n, 2015): 100,000 + 10,000 images (3, 64, 64) of 200 classes.

    The published validation images are the test split, since the published test images have no labels.

    Raises:
        DataError: If the data is not in `data_dir` or incomplete.
    """
    root = _root(data_dir, "tiny_imagenet", "tiny-imagenet-200", ("train", "val/val_annotations.txt"))
    classes = _class_folders(root / "train")
    number = {name: i for i, name in enumerate(classes)}
    rows = [line.split("\t") for line in (root / "val" / "val_annotations.txt").read_text().splitlines() if line]
    if any(len(row) < 2 or row[1] not in number for row in rows):
        raise DataError(
            f"The file {root / 'val' / 'val_annotations.txt'} names a class that is not in {root / 'train'}; "
            "unpack tiny-imagenet-200.zip again."
        )
    test = [root / "val" / "images" / row[0] for row in rows], [number[row[1]] for row in rows]
    return _dataset("tiny_imagenet", image_size or 64, _labelled(root / "train", classes), test)


def core50(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """CORe50 (Lomonaco and Maltoni, 2017): about 164,866 images (3, 128, 128) of 50 objects in 11 sessions.

    Sessions 3, 7 and 10 are the test split, as published.

    Raises:
        DataError: If the data is not in `data_dir` or incomplete.
    """
    folders = [f"s{session}/o{thing}" for session in range(1, 12) for thing in range(1, 51)]
    root = _root(data_dir, "core50", "core50_128x128", folders)
    splits: dict[bool, tuple[list[Path], list[int]]] = {False: ([], []), True: ([], [])}
    for session in range(1, 12):
        objects = [f"o{thing}" for thing in range(1, 51)]
        paths, labels = _labelled(root / f"s{session}", objects)
        splits[session in (3, 7, 10)][0].extend(paths)
        splits[session in (3, 7, 10)][1].extend(labels)
    return _dataset("core50", image_size or 128, splits[False], splits[True])


def omniglot(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """Omniglot (Lake et al., 2015): 1,623 characters of 50 alphabets, 20 grey images (1, 28, 28) of each.

    The 964 characters of `images_background` come first. One fifth of each character, drawn by `seed`, is the test
    split. The folder is that of torchvision, `omniglot-py`.

    Raises:
        DataError: If the data is not in `data_dir` or incomplete.
    """
    parts = ("images_background", "images_evaluation")
    root = _root(data_dir, "omniglot", "omniglot-py", parts, "images_background.zip and images_evaluation.zip")
    paths: list[Path] = []
    labels: list[int] = []
    for folder in (root / part / alphabet for part in parts for alphabet in _class_folders(root / part)):
        first = max(labels, default=-1) + 1
        found, own = _labelled(folder, _class_folders(folder))
        paths += found
        labels += [first + label for label in own]
    return _held_out("omniglot", paths, labels, seed, image_size or 28, grey=True)


def tiered_imagenet(part: str, data_dir: Path, seed: int, image_size: int) -> Dataset:
    """One of the three parts of Tiered-ImageNet (Ren et al., 2018), whose classes differ: images (3, 84, 84).

    They lie in `tiered_imagenet/{train,val,test}`, in one folder per class. One fifth of each class, drawn by `seed`,
    is the test split.

    Args:
        part: train, val or test.
        data_dir: Where the folder is.
        seed: Draws the test split.
        image_size: Side of the images; 0: 84.

    Raises:
        DataError: If the data is not in `data_dir` or incomplete.
    """
    name = f"tiered_imagenet:{part}"
    root = _root(data_dir, name, "tiered_imagenet", [part], "the class folders") / part
    return _held_out(name, *_labelled(root, _class_folders(root)), seed, image_size or 84)


tiered_imagenet_train = partial(tiered_imagenet, "train")
tiered_imagenet_val = partial(tiered_imagenet, "val")
tiered_imagenet_test = partial(tiered_imagenet, "test")


def _held_out(name: str, paths: list[Path], labels: list[int], seed: int, size: int, *, grey: bool = False) -> Dataset:
    """The images, of which one fifth of each class is the test split; grey ones are read at once."""
    splits: list[Any] = []
    for index in hold_out(name, np.array(labels), seed):
        images = ImageFiles([paths[i] for i in index.tolist()], size)
        x = images[torch.arange(len(images))][:, :1].contiguous() if grey else images
        splits += [x, torch.tensor(labels)[index]]
    return Dataset(name, splits[0], splits[1], splits[2], splits[3], max_value=255)


def _dataset(name: str, size: int, train: tuple[list[Path], list[int]], test: tuple[list[Path], list[int]]) -> Dataset:
    x, x_test = ImageFiles(train[0], size), ImageFiles(test[0], size)
    return Dataset(name, x, torch.tensor(train[1]), x_test, torch.tensor(test[1]), max_value=255)


def _root(data_dir: Path, key: str, folder: str, needed: Sequence[str], archive: str = "") -> Path:
    """Return `data_dir/folder` or `data_dir` itself, whichever holds everything `needed`."""
    root = data_dir / folder if (data_dir / folder).is_dir() else data_dir
    missing = next((part for part in needed if not (root / part).exists()), None)
    if missing is not None:
        raise DataError(
            f"Data set {key} is not (or not wholly) in {data_dir}, {root / missing} is missing: unpack "
            f"{archive or folder + '.zip'} there, or name the folder that holds it with --data_dir."
        )
    return root


def _class_folders(root: Path) -> list[str]:
    """Return the names of the class folders in `root`, in order."""
    names = sorted(path.name for path in root.iterdir() if _is_class(path)) if root.is_dir() else []
    if len(names) < 2:
        raise DataError(
            f"The folder {root} needs one folder of images per class, two classes at least; found {len(names)}; "
            "name the folder that holds them with --data_dir."
        )
    return names


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _labelled(root: Path, classes: list[str]) -> tuple[list[Path], list[int]]:
    """Return the image files in the class folders of `root`, however deep, and their labels."""
    unknown = sorted(path.name for path in root.iterdir() if _is_class(path) and path.name not in classes)
    if unknown:
        raise DataError(f"The folder {root / unknown[0]} is no class of the training split; remove or rename it.")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = sorted(
            Path(folder) / file
            for folder, _, files in os.walk(root / name, followlinks=True)
            for file in files
            if file.lower().endswith(_SUFFIXES) and not file.startswith(".")
        )
        if not files and (root / name).is_dir():
            raise DataError(f"The class folder {root / name} holds no image; add some or remove it.")
        paths.extend(files)
        labels.extend([label] * len(files))
    return paths, labels
