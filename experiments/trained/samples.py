"""New samples to predict: from a file, a folder of images, or a data set by name. Labels may be missing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from redwood.core.errors import DataError
from redwood.core.parts import flat
from redwood.experiments.trained.model import TrainedModel
from redwood.experiments.trained.table_rows import columns_of, groups_of, read_rows
from redwood.settings.data import files, tables
from redwood.settings.data.arrays import Samples
from redwood.settings.data.catalog import load_dataset
from redwood.settings.data.columns import NO_COLUMNS
from redwood.settings.data.folders import SUFFIXES, ImageFiles, image_files
from redwood.settings.data.table import DATASETS


@dataclass(frozen=True, eq=False)
class NewSamples:
    """Samples to predict.

    Attributes:
        x: The samples (n, ...), in memory or in files.
        names: What each sample is called: its file, or nothing where samples are numbered.
        labels: The label of each sample, by the name of its class, or a target (n,) or (n, d); None: there are none.
        task_id: The task of each sample (n,), if it is known.
        groups: The name of the task of each sample, such as its month, for scores by task; empty: there is none.
    """

    x: Samples
    names: Sequence[str] = ()
    labels: Sequence[str] | Tensor | None = None
    task_id: Tensor | None = None
    groups: Sequence[str] = ()


def read_samples(model: TrainedModel, dataset: str, data_dir: Path, split: str) -> NewSamples:
    """Read the samples that `dataset` stands for.

    Args:
        model: The model that is to predict them.
        dataset: An .npz, .h5 or .hdf5 file with an array `x`; a .csv or .parquet table; a folder of images; one
            image; or a data set by name.
        data_dir: Folder of data sets by name.
        split: Which samples of a data set by name: test or train.

    Raises:
        RedwoodError: If there are no such samples, or they are unreadable.
    """
    path = Path(dataset).expanduser()
    if path.is_dir() and dataset not in DATASETS:
        return _images(model, path)
    if dataset.lower().endswith(SUFFIXES):
        if not path.is_file():
            raise DataError(f"--dataset {dataset} names no image file that is there; look at its path.")
        return NewSamples(model.image_files([path]), [path.name])
    if dataset.lower().endswith(files.SUFFIXES):
        x, y, tasks, names = files.read_samples(path)
        return NewSamples(x, (), _named(y, names), tasks)
    if dataset.lower().endswith(tables.SUFFIXES):
        return _table(model, path)
    config = flat(model.config)
    size = int(config.get("image_size") or 0)
    columns = replace(columns_of(model.config, model.signature), slices="")
    data = load_dataset(
        dataset, data_dir, int(config["seed"]), size, columns if dataset.startswith("hf:") else NO_COLUMNS
    )
    parts = {"train": (data.x, data.y, data.contexts), "test": (data.x_test, data.y_test, data.contexts_test)}
    samples, labels, contexts = parts[split]
    if isinstance(samples, ImageFiles):  # new images may be of another size than those of the run
        samples = model.image_files(samples.paths)
    groups = [] if contexts is None else [(data.task_names or range(contexts.max() + 1))[t] for t in contexts.tolist()]
    return NewSamples(samples, (), _named(labels, data.class_names), contexts, list(map(str, groups)))


def _named(y: Tensor | None, names: Sequence[str]) -> Sequence[str] | Tensor | None:
    """Labels (n,) by the names of their classes; targets and label sets as they are."""
    if y is None or y.dtype.is_floating_point or y.dtype == torch.bool or y.dim() != 1:
        return y
    known = dict(enumerate(names))
    return [known.get(label, str(label)) for label in y.tolist()]


def _table(model: TrainedModel, path: Path) -> NewSamples:
    """The rows of a table, whose features stand in the order of training; the target may be missing."""
    columns = columns_of(model.config, model.signature)
    x, labels, others = read_rows(path.stem, tables.read_table(path, columns), columns)
    return NewSamples(x, (), labels, groups=groups_of(path.stem, others, columns))


def _images(model: TrainedModel, folder: Path) -> NewSamples:
    """All images in a folder, however deep, each once; folders with the names of classes tell the labels.

    These are the folders of the first level that has one: folders of splits and of tasks may stand around them.
    """
    paths = [Path(file) for file in image_files(folder)]
    if not paths:
        raise DataError(f"--dataset {folder} holds no image; name a folder with some ({', '.join(SUFFIXES)}).")
    relative = [path.relative_to(folder) for path in paths]
    names = [path.as_posix() for path in relative]
    labels, groups = _labels_of([path.parts[:-1] for path in relative], model)
    return NewSamples(model.image_files(paths), names, labels, groups=groups)


def _labels_of(folders: Sequence[tuple[str, ...]], model: TrainedModel) -> tuple[Sequence[str] | None, Sequence[str]]:
    """The label of each image by the folders that it lies in, from the outermost; None if not all have one.

    The second list has the folders around the class folders, such as months; it is empty if there are none.
    """
    known = frozenset().union(*model.classes_by_output)
    level = min((own.index(name) for own in folders for name in own if name in known), default=0)
    labels = [own[level] for own in folders if len(own) > level]
    if len(labels) < len(folders):
        return None, ()
    return labels, ["/".join(own[:level]) for own in folders] if level else ()
