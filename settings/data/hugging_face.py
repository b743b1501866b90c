"""Data sets of Hugging Face: in memory, in a folder that `save_to_disk` wrote, or by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from redwood.core.errors import DataError, reason_of
from redwood.core.extras import load_extra
from redwood.settings.data.arrays import samples_of
from redwood.settings.data.columns import Columns
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.images import MOST_THREADS, DecodedImages, in_memory
from redwood.settings.data.rows import dataset_of_rows, read_rows
from redwood.settings.data.tables import features_of

if TYPE_CHECKING:
    import pandas
    from datasets import Dataset as Split
    from datasets import DatasetDict, Features
    from datasets import Image as ImageFeature
    from datasets.features.features import FeatureType
    from PIL.Image import Image

_TRAINING, _TEST = ("train", "training"), ("test", "validation", "valid", "val")


def load(name: str, path: Path, columns: Columns, seed: int, image_size: int) -> Dataset:
    """Read `hf:FOLDER`, which `save_to_disk` wrote, or `hf:NAME`, which is downloaded; see `from_datasets`.

    Args:
        name: The whole value of `--dataset`.
        path: The folder, if there is one.
        columns: Target, task, time and slices.
        seed: Draws test rows.
        image_size: Side of the images; 0: their own.

    Raises:
        DataError: If the folder holds no data set, or the name cannot be loaded.
    """
    datasets = load_extra("datasets", "data", f"--dataset {name}")
    wanted = name.removeprefix("hf:")
    if not wanted or (not path.is_dir() and (wanted.startswith((".", "/", "~")) or wanted.count("/") > 1)):
        raise DataError(f"The folder of --dataset {name} does not exist; give one that save_to_disk wrote, or a name.")
    try:
        found = datasets.load_from_disk(str(path)) if path.is_dir() else datasets.load_dataset(wanted)
    except Exception as error:  # downloads and files fail in many ways
        if path.is_dir():
            raise DataError(
                f"The folder {path} cannot be read as a data set of Hugging Face ({reason_of(error)}); write it by "
                "save_to_disk (image folders: --dataset image_folder)."
            ) from error
        raise DataError(
            f"--dataset {name} could not be loaded ({reason_of(error)}): a name needs a network; without one, give "
            "hf:FOLDER with a folder that save_to_disk wrote."
        ) from error
    return from_datasets(path.name or "hugging_face", [found], columns, seed, image_size)


def from_datasets(
    name: str, parts: Sequence["Split | DatasetDict"], columns: Columns, seed: int, image_size: int
) -> Dataset:
    """Make a data set of one or two of Hugging Face.

    The target is a column of classes (`ClassLabel`, integers, texts) or floats. If there is a column of images, these
    are the samples; other columns are left out. Else the other columns are features, as in a table.

    Args:
        name: Name in results.
        parts: A `Dataset`, of which test rows are drawn by `seed`; a `DatasetDict` with `train` and `test` (or
            `validation`); or one `Dataset` for training and one for the test.
        columns: Target, task, time and slices.
        seed: Draws the test rows.
        image_size: Side that images are resized to; 0: their own, which all have to share.

    Raises:
        DataError: If columns are missing or of another type, or the splits differ.
        InvalidOptionError: If an option names no column.
    """
    datasets = load_extra("datasets", "data", "A data set of Hugging Face")
    splits = [_plain(name, part) for part in _splits(name, parts, datasets)]
    features = splits[0].features
    if len(splits) > 1 and splits[1].features != features:
        differing = next(
            key for key in {**features, **splits[1].features} if features.get(key) != splits[1].features.get(key)
        )
        raise DataError(
            f"Data set {name}: the column {differing} differs between the training and the test split; give both the "
            "same columns and types."
        )
    whole = datasets.concatenate_datasets(splits) if len(splits) > 1 else splits[0]
    target = _target(name, features, columns, datasets)
    columns.check_others(name, target, list(features))
    named = [key for key in dict.fromkeys((target, columns.task, columns.time, columns.slices)) if key]
    frame = _frame(whole, named, datasets)
    rows = read_rows(name, frame, target, columns, seed, n_test=len(splits[1]) if len(splits) > 1 else 0)
    image = _image_column(name, features, datasets)
    if image is None:
        x, names = _features(name, whole, [key for key in features if key not in named], columns.features)
        return dataset_of_rows(name, rows, lambda index: x[index], names)
    encoded = whole.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    read = _ImageReader(name, encoded, image, datasets.Image())
    return dataset_of_rows(
        name, rows, lambda index: in_memory(DecodedImages(name, read, index, image_size), threads=MOST_THREADS)
    )


def _splits(name: str, parts: Sequence["Split | DatasetDict"], datasets: ModuleType) -> list["Split"]:
    """One split, or the training and the test split."""
    if len(parts) == 1 and isinstance(parts[0], datasets.DatasetDict):
        found = parts[0]
        train = next((key for key in _TRAINING if key in found), None)
        test = next((key for key in _TEST if key in found), None)
        if train is None and len(found) > 1:
            raise DataError(
                f"Data set {name} has the splits {', '.join(found)}, but none is called train; pass the one to use, or "
                "a pair for training and test."
            )
        parts = [found[key] for key in (train or next(iter(found)), test) if key is not None and key in found]
        parts = parts if train is not None else parts[:1]
    for part in parts:
        if not isinstance(part, datasets.Dataset):
            raise DataError(f"Data set {name}: a pair has to hold two splits, not a {type(part).__name__}.")
        if not len(part):
            raise DataError(f"Data set {name} has a split without rows; add some, or leave it out.")
    return list(parts)


def _plain(name: str, part: "Split") -> "Split":
    """The split as stored, without an output format."""
    if part.format["type"] == "custom":
        raise DataError(
            f"Data set {name} has a transform (set_transform), which would not be applied; call reset_format(), and "
            "give --image_size or --augmentation."
        )
    return part.with_format(None)


def _target(name: str, features: "Features", columns: Columns, datasets: ModuleType) -> str:
    """The column to predict: the given one, or the only one of classes, or one with a usual name."""
    classes = [key for key, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    free = [key for key in classes if key not in (columns.task, columns.slices)]
    if not columns.target and len(free) == 1:
        return str(free[0])
    return columns.find_target(name, list(features))


def _frame(whole: "Split", keys: list[str], datasets: ModuleType) -> "pandas.DataFrame":
    """These columns as a pandas DataFrame; classes become categories, a class of -1 is missing."""
    pandas = load_extra("pandas", "data", "A data set of Hugging Face")
    frame = whole.select_columns(keys).to_pandas()
    for key in keys:
        feature = whole.features[key]
        if isinstance(feature, datasets.ClassLabel):
            codes = frame[key].fillna(-1).astype("int64")
            frame[key] = pandas.Categorical.from_codes(codes, categories=feature.names)
    return frame


def _image_column(name: str, features: "Features", datasets: ModuleType) -> str | None:
    images = [key for key, feature in features.items() if isinstance(feature, datasets.Image)]
    if len(images) > 1:
        raise DataError(
            f"Data set {name} has several columns of images, {' and '.join(images)}; keep one by remove_columns."
        )
    return images[0] if images else None


def _features(name: str, whole: "Split", keys: list[str], wanted: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """Numbers and texts as in a table, with their names; or one column of arrays of one shape."""
    datasets = load_extra("datasets", "data", "A data set of Hugging Face")
    kinds = (datasets.List, datasets.LargeList, datasets.Array2D, datasets.Array3D, datasets.Array4D, datasets.Array5D)
    arrays = [key for key in keys if isinstance(whole.features[key], kinds)]
    if arrays and len(keys) > 1:
        raise DataError(
            f"Data set {name}: the column {arrays[0]} holds arrays and there are other features, "
            f"{', '.join(key for key in keys if key != arrays[0])}; keep one of them by remove_columns."
        )
    if not arrays:
        return features_of(name, _frame(whole, keys, datasets), wanted)
    values = np.asarray(whole.select_columns(keys).with_format("numpy")[:][keys[0]])
    if values.dtype.kind not in "biuf":
        raise DataError(f"Data set {name}: the arrays of the column {keys[0]} are not of one shape; make them alike.")
    dtype = np.float32 if values.dtype.kind in "bf" else _dtype(whole.features[keys[0]])
    return samples_of(name, values.astype(dtype)), ()


def _dtype(feature: "FeatureType") -> str:
    """The type of the numbers of an array, which lists may hold deep inside."""
    while hasattr(feature, "feature"):
        feature = feature.feature
    return str(feature.dtype)


@dataclass(frozen=True)
class _ImageReader:
    """Returns the images of Pillow of some rows of a column that holds encoded images."""

    name: str
    encoded: "Split"
    column: str
    decoder: "ImageFeature"

    def __call__(self, rows: list[int]) -> list["Image"]:
        images = []
        for row, encoded in zip(rows, self.encoded[rows][self.column], strict=True):
            try:
                images.append(self.decoder.decode_example(encoded))
            except Exception as error:  # Pillow and file systems raise many kinds
                raise DataError(
                    f"Data set {self.name}: the image of row {row} cannot be read ({reason_of(error)}); leave it out."
                ) from error
        return images
