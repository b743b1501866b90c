"""Image sets with several labels an image, which stay in their published folders: COCO and NUS-WIDE."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from redwood.core.errors import DataError
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.folders import ImageFiles, read_list

COCO_SPLITS = ("train2017", "val2017")
NUS_SPLITS = ("Train", "Test")
SIZE = 224


def coco(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """COCO 2017 (Lin et al., 2014): 118,287 + 5,000 images of up to 80 kinds of objects, 224 pixels wide.

    A label is a category of which an image holds an object. Labels follow the numbers of the categories; one that no
    training image has is left out. The published validation images are the test split. An image may have no label.

    Raises:
        DataError: If the data is not in `data_dir`, or incomplete.
    """
    lists = [f"annotations/instances_{split}.json" for split in COCO_SPLITS]
    remedy = "put the folders train2017, val2017 and annotations of COCO 2017 there"
    root = _root(data_dir, "coco", [*COCO_SPLITS, *lists], remedy)
    train, test = (_instances(root / name) for name in lists)
    numbers = sorted({number for labels in train.values() for number in labels})
    x, x_test = (
        ImageFiles([root / split / file for file in images], image_size or SIZE)
        for split, images in zip(COCO_SPLITS, (train, test), strict=True)
    )
    y, y_test = (
        torch.tensor([[number in labels for number in numbers] for labels in images.values()])
        for images in (train, test)
    )
    return Dataset("coco", x, y, x_test, y_test, max_value=255)


def nus_wide(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """NUS-WIDE (Chua et al., 2009): 161,789 + 107,859 photos of up to 81 concepts, 224 pixels wide.

    Labels are the concepts in the order of their names; one that no training image has is left out. An image may have
    no label.

    Raises:
        DataError: If the data is not in `data_dir`, or incomplete.
    """
    lists, labels = [f"ImageList/{split}Imagelist.txt" for split in NUS_SPLITS], "Groundtruth/TrainTestLabels"
    remedy = "put the folders ImageList, Groundtruth and Flickr (the images) of NUS-WIDE there"
    root = _root(data_dir, "nus_wide", ["Flickr", labels, *lists], remedy)
    concepts = sorted(path.name[len("Labels_") : -len("_Train.txt")] for path in (root / labels).glob("*_Train.txt"))
    if not concepts:
        raise DataError(f"The folder {root / labels} holds no files Labels_..._Train.txt; {remedy}.")
    x, y = [], []
    for split, name in zip(NUS_SPLITS, lists, strict=True):
        files = [line.strip().replace("\\", "/") for line in read_list(root / name).splitlines() if line.strip()]
        columns = [_column(root / labels / f"Labels_{concept}_{split}.txt", len(files)) for concept in concepts]
        x.append(ImageFiles([root / "Flickr" / file for file in files], image_size or SIZE))
        y.append(torch.stack(columns, dim=1))
    present = y[0].any(0)
    return Dataset("nus_wide", x[0], y[0][:, present], x[1], y[1][:, present], max_value=255)


def _root(data_dir: Path, key: str, needed: Sequence[str], remedy: str) -> Path:
    """Return `data_dir/key` or `data_dir` itself, whichever holds everything `needed`."""
    root = data_dir / key if (data_dir / key).is_dir() else data_dir
    missing = next((part for part in needed if not (root / part).exists()), None)
    if missing is not None:
        raise DataError(
            f"Data set {key} is not (or not wholly) in {data_dir}, {root / missing} is missing: {remedy}, or name the "
            "folder that holds them with --data_dir."
        )
    return root


def _instances(path: Path) -> dict[str, set[int]]:
    """The numbers of the categories in each image, by file, in the order of the list."""
    try:
        content = json.loads(read_list(path))
        images: dict[int, tuple[str, set[int]]] = {one["id"]: (one["file_name"], set()) for one in content["images"]}
        for thing in content["annotations"]:
            images[thing["image_id"]][1].add(thing["category_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"The file {path} is no list of COCO's instances ({error!r}); unpack annotations_trainval2017.zip again."
        ) from error
    return dict(images.values())


def _column(path: Path, n: int) -> Tensor:
    """Return a mask (n,), bool, of the images that have a label."""
    lines = read_list(path).split() if path.is_file() else []
    if len(lines) != n or not set(lines) <= {"0", "1"}:
        raise DataError(
            f"The file {path} needs one line, 0 or 1, for each of {n} images, but has {len(lines)}; unpack "
            "NUS-WIDE's Groundtruth and ImageList again."
        )
    return torch.tensor([line == "1" for line in lines])
