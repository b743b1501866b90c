"""Image sets that stay in files, which are decoded when a batch needs them, several at a time."""

import os
import stat
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info
from typing_extensions import override

from redwood.core.errors import DataError, reason_of
from redwood.core.files import check_regular, read_bytes
from redwood.settings.data.arrays import Samples
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.holdout import hold_out
from redwood.settings.data.paths import PathTable
from redwood.settings.data.sources import IMAGE_FILES

# Files, and the class of each (n,).
Labelled: TypeAlias = tuple[Iterable[str], Tensor]
SUFFIXES = IMAGE_FILES


class ImageFiles:
    """Images (N, 3, H, W), uint8, each decoded from its file when it is indexed (implements `Samples`).

    Args:
        paths: File of each sample.
        size: Height and width in pixels that every image is resized to (bilinear); one number of squares.
    """

    dtype = torch.uint8

    def __init__(self, paths: Iterable[str | Path], size: int | tuple[int, int]) -> None:
        self.paths = paths if isinstance(paths, PathTable) else PathTable(paths)
        self.height, self.width = (size, size) if isinstance(size, int) else size
        self._threads: tuple[int, ThreadPoolExecutor] | None = None

    @property
    def shape(self) -> torch.Size:
        """Shape (N, 3, H, W)."""
        return torch.Size((len(self.paths), 3, self.height, self.width))

    def at(self, height: int, width: int) -> Self:
        """The same images in another size."""
        return type(self)(self.paths, (height, width))

    def __len__(self) -> int:
        """Number of images N."""
        return len(self.paths)

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """Decode the images `index` (B,) into one uint8 tensor (B, 3, H, W).

        Raises:
            DataError: If a file is missing or is no readable image.
        """
        if not len(index):
            return torch.empty(0, *self.shape[1:], dtype=torch.uint8)
        paths = [self.paths[i] for i in index.tolist()]
        # A process that decodes for the training has others beside it, and needs no threads.
        decoded = map(self._decode, paths) if get_worker_info() else self._pool().map(self._decode, paths)
        # In such a process, torch puts the batch into shared memory, from where it is sent on without a copy.
        images: Tensor = default_collate([torch.from_numpy(pixels).permute(2, 0, 1) for pixels in decoded])
        return images.contiguous()

    def __getstate__(self) -> dict[str, Any]:
        """The state without the threads: another process starts its own."""
        return {**self.__dict__, "_threads": None}

    def _pool(self) -> ThreadPoolExecutor:
        # A forked process inherits the pool but not its threads, and would wait for them for ever.
        if self._threads is None or self._threads[0] != os.getpid():
            self._threads = (os.getpid(), ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)))
        return self._threads[1]

    def _decode(self, path: str) -> np.ndarray:
        """The pixels (H, W, 3) of an image."""
        size = self.width, self.height
        with opened_image(path) as file:
            # A JPEG of four times the size or more is decoded at a half, a quarter or an eighth of its own size.
            file.draft(None, (2 * self.width, 2 * self.height))
            image = file if file.mode == "RGB" else file.convert("RGB")
            if image.size != size:
                image = image.resize(size, resample=2)  # bilinear
            return np.array(image)


@contextmanager
def opened_image(path: str) -> Iterator[Image.Image]:
    """Open an image by Pillow, which reads its head alone until its pixels are asked for.

    Raises:
        DataError: If the file is missing or no image, or if the block finds that it is damaged.
    """
    try:
        check_regular(Path(path))
        with Image.open(path) as file:
            yield file
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises
        raise DataError(f"The image {path} cannot be read ({error}); replace it or remove it.") from error


class GreyFiles(ImageFiles):
    """Images (N, 1, H, W), uint8: the luminance of each file, as ITU-R 601 weighs its colours."""

    @property
    @override
    def shape(self) -> torch.Size:
        return torch.Size((len(self.paths), 1, self.height, self.width))

    @override
    def __getitem__(self, index: Tensor, /) -> Tensor:
        red, green, blue = super().__getitem__(index).to(torch.int32).unbind(1)
        # The weights of Pillow's mode L: they sum to 2^16, so that a grey image stays as it is.
        grey = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
        return grey.to(torch.uint8)[:, None]


def tiny_imagenet(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """Tiny ImageNet (Stanford CS231n, 2015): 100,000 + 10,000 images (3, 64, 64) of 200 classes.

    The published validation images are the test split, since the published test images have no labels.

    Raises:
        DataError: If the data is not in `data_dir` or incomplete.
    """
    root = _root(data_dir, "tiny_imagenet", "tiny-imagenet-200", ("train", "val/val_annotations.txt"))
    classes = _class_folders(root / "train")
    number = {name: i for i, name in enumerate(classes)}
    rows = [line.split("\t") for line in read_list(root / "val" / "val_annotations.txt").splitlines() if line]
    if any(len(row) < 2 or row[1] not in number for row in rows):
        raise DataError(
            f"The file {root / 'val' / 'val_annotations.txt'} names a class that is not in {root / 'train'}; "
            "unpack tiny-imagenet-200.zip again."
        )
    test = [str(root / "val" / "images" / row[0]) for row in rows], torch.tensor([number[row[1]] for row in rows])
    return _dataset("tiny_imagenet", image_size or 64, labelled(root / "train", classes), test, classes)


def core50(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """CORe50 (Lomonaco and Maltoni, 2017): about 164,866 images (3, 128, 128) of 50 objects in 11 sessions.

    Sessions 3, 7 and 10 are the test split, as published.

    Raises:
        DataError: If the data is not in `data_dir` or incomplete.
    """
    folders = [f"s{session}/o{thing}" for session in range(1, 12) for thing in range(1, 51)]
    root = _root(data_dir, "core50", "core50_128x128", folders)
    objects = [f"o{thing}" for thing in range(1, 51)]
    tested = (3, 7, 10)
    train, test = (
        [labelled(root / f"s{session}", objects) for session in range(1, 12) if (session in tested) == is_test]
        for is_test in (False, True)
    )
    return _dataset("core50", image_size or 128, joined(train), joined(test), objects)


def omniglot(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """Omniglot (Lake et al., 2015): 1,623 characters of 50 alphabets, 20 grey images (1, 28, 28) of each.

    The 964 characters of `images_background` come first. One fifth of each character, drawn by `seed`, is the test
    split. The folder is that of torchvision, `omniglot-py`.

    Raises:
        DataError: If the data is not in `data_dir` or incomplete.
    """
    parts = ("images_background", "images_evaluation")
    root = _root(data_dir, "omniglot", "omniglot-py", parts, "images_background.zip and images_evaluation.zip")
    found: list[Labelled] = []
    n_classes = 0
    for folder in (root / part / alphabet for part in parts for alphabet in _class_folders(root / part)):
        characters = _class_folders(folder)
        paths, labels = labelled(folder, characters)
        found.append((paths, labels + n_classes))
        n_classes += len(characters)
    return _held_out("omniglot", *joined(found), seed, image_size or 28, grey=True)


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
    classes = _class_folders(root)
    return _held_out(name, *labelled(root, classes), seed, image_size or 84, classes=classes)


tiered_imagenet_train = partial(tiered_imagenet, "train")
tiered_imagenet_val = partial(tiered_imagenet, "val")
tiered_imagenet_test = partial(tiered_imagenet, "test")


def _held_out(
    name: str,
    paths: Iterable[str],
    labels: Tensor,
    seed: int,
    size: int,
    *,
    grey: bool = False,
    classes: Sequence[str] = (),
) -> Dataset:
    """Return the images, with one fifth of each class as test split; grey images are read at once."""
    table = PathTable(paths)
    splits: list[tuple[Samples, Tensor]] = []
    for index in hold_out(name, labels.numpy(), seed):
        images = ImageFiles((table[i] for i in index.tolist()), size)
        x = images[torch.arange(len(images))][:, :1].contiguous() if grey else images
        splits.append((x, labels[index]))
    (x_train, y_train), (x_test, y_test) = splits
    return Dataset(name, x_train, y_train, x_test, y_test, max_value=255, class_names=tuple(classes))


def _dataset(name: str, size: int, train: Labelled, test: Labelled, classes: Sequence[str]) -> Dataset:
    x, x_test = ImageFiles(train[0], size), ImageFiles(test[0], size)
    return Dataset(name, x, train[1], x_test, test[1], max_value=255, class_names=tuple(classes))


def joined(parts: Sequence[Labelled]) -> Labelled:
    """The images of all parts, one behind the other."""
    return chain.from_iterable(paths for paths, _ in parts), torch.cat([labels for _, labels in parts])


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
    names = folders_in(root) if root.is_dir() else []
    if len(names) < 2:
        inner = root / names[0] if names else root
        deeper = len(names) == 1 and len(folders_in(inner)) > 1
        remedy = f"if they are in {inner}, name that folder" if deeper else "name the folder that holds them"
        raise DataError(
            f"The folder {root} needs one folder of images per class, two classes at least; found {len(names)}; "
            f"{remedy} with --data_dir."
        )
    return names


def folders_in(root: Path) -> list[str]:
    """The names of the folders in a folder, in order, without hidden ones."""
    try:
        return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise _unreadable(error) from error


def read_list(path: Path) -> str:
    """The text of a file that a published data set holds beside its images; raises `DataError` if it is none."""
    try:
        return read_bytes(path).decode()
    except (OSError, UnicodeError) as error:
        raise DataError(f"The file {path} cannot be read ({reason_of(error)}); unpack the data set again.") from error


def _unreadable(error: OSError) -> DataError:
    return DataError(f"The folder {error.filename} cannot be read ({error.strerror}); allow it, or remove the folder.")


def labelled(root: Path, classes: Sequence[str], *others: Path, may_be_empty: bool = False) -> Labelled:
    """The image files in the class folders of `root`, however deep, and their labels (n,).

    Links within a class folder lead neither to another class nor to the class folders of the `others`.
    """
    unknown = sorted(set(folders_in(root)) - set(classes))
    if unknown:
        raise DataError(f"The folder {root / unknown[0]} is no class of the training split; remove or rename it.")
    elsewhere = [part / name for part in (root, *others) for name in ("", *folders_in(part))]
    counts: list[int] = []

    def found() -> Iterator[str]:
        for name in classes:
            files = _images_in(root / name, elsewhere, may_be_empty)
            counts.append(len(files))
            yield from files

    paths = PathTable(found())
    return paths, torch.arange(len(classes)).repeat_interleave(torch.tensor(counts))


def _images_in(folder: Path, elsewhere: Collection[Path], may_be_empty: bool) -> list[str]:
    """As `image_files`, of a class folder, which may be missing."""
    files = image_files(folder, elsewhere) if folder.is_dir() else []
    if not files and folder.is_dir() and not may_be_empty:
        raise DataError(f"The class folder {folder} holds no image; add some or remove it.")
    return files


def image_files(folder: Path, elsewhere: Collection[Path] = ()) -> list[str]:
    """The image files in a folder and in those within it, however deep, in the order of their parts.

    Each file and folder counts once, whatever links lead to it. It has the name that is no link, if there is one here.
    Pipes and devices are left out. A link that leads nowhere is told when it is read.

    Args:
        folder: The folder.
        elsewhere: Links to these folders are not followed. Links to `folder` or the folders around it never are.

    Raises:
        DataError: If a folder cannot be read.
    """
    walk = _Walk({_identity(path.stat()) for path in (folder, *folder.resolve().parents, *elsewhere)})
    walk.folders.append(os.fspath(folder))
    while walk.folders or walk.links:
        if walk.folders:
            walk.read(walk.folders.pop())
        else:  # once all that is no link is known
            walk.follow(walk.links.popleft())
    return sorted(walk.found, key=lambda file: file.split(os.sep))


class _Walk:
    """Files and folders that `image_files` has found; each is known by its device and inode."""

    def __init__(self, seen: set[tuple[int, int]]) -> None:
        self._seen = seen
        self.found: list[str] = []
        self.folders: list[str] = []
        self.links = deque[str]()

    def read(self, folder: str) -> None:
        """Sort the entries of a folder."""
        try:
            with os.scandir(folder) as found:
                device, entries = os.stat(folder).st_dev, sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise _unreadable(error) from error
        for entry in entries:
            if entry.is_symlink():
                self.links.append(entry.path)
            elif entry.is_dir():
                self._add(entry.path, self.folders, _identity(entry.stat()))
            elif is_image(entry.name) and entry.is_file():
                self._add(entry.path, self.found, (device, entry.inode()))  # without a look at each file

    def follow(self, link: str) -> None:
        """Take up the file or folder that a link leads to."""
        try:
            status = os.stat(link)
        except OSError:
            self.found += [link] * is_image(link)
            return
        if stat.S_ISDIR(status.st_mode):
            self._add(link, self.folders, _identity(status))
        elif stat.S_ISREG(status.st_mode) and is_image(link):
            self._add(link, self.found, _identity(status))

    def _add(self, path: str, to: list[str], identity: tuple[int, int]) -> None:
        if identity not in self._seen:
            self._seen.add(identity)
            to.append(path)


def holds_image(folder: Path) -> bool:
    """True if a folder holds an image itself, not only in folders within it."""
    try:
        with os.scandir(folder) as found:
            return any(is_image(entry.name) and entry.is_file() for entry in found)
    except OSError as error:
        raise _unreadable(error) from error


def is_image(path: str) -> bool:
    """True if a file has the name of an image, and is not hidden."""
    return path.lower().endswith(SUFFIXES) and not os.path.basename(path).startswith(".")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
