"""Read a folder of a user's images: find the task folders, the class folders and the size of the images."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from redwood.core.errors import DataError
from redwood.core.user_warnings import warn
from redwood.settings.data.checks import check_utf8
from redwood.settings.data.dataset import Dataset, shortened, task_order
from redwood.settings.data.folders import ImageFiles, Labelled, folders_in, holds_image, joined, labelled, opened_image
from redwood.settings.data.holdout import hold_out, hold_out_rows
from redwood.settings.data.paths import PathTable

MOST_PIXELS = 224  # height and width of images whose size nobody has named
_LOOKED_AT = 100
_MOST_PARTIAL = 6  # classes in one line, each with its tasks
# Names that other programs give to the two splits. As tasks, one would be trained on the test samples of the other.
_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}


@dataclass(frozen=True)
class _Layout:
    """The folders that hold the images.

    Attributes:
        tasks: The task folders in their order; empty: the class folders are in the folder itself.
        classes: The class folders in the order of their names.
    """

    tasks: tuple[str, ...]
    classes: tuple[str, ...]


def image_folder(data_dir: Path, seed: int, image_size: int, tasks: Collection[str] = ()) -> Dataset:
    """Any images in one folder per class, or in one folder per task that holds the folders of its classes.

    If `data_dir` has folders `train` and `test` (or `val`), these hold the class folders or the task folders. If it has
    all three, the images of `val` are kept for validation. Otherwise one fifth of each class (of each task), drawn by
    `seed`, is the test split. Classes and tasks are in the order of their names; in those of tasks, 2 precedes 10.
    Images may lie in folders of a class folder, however deep, beside others. Tasks may have different classes if their
    names are numbered alike, such as 2024-01. A class without any image is left out with a warning.

    Args:
        data_dir: The folder.
        seed: Draws the test split.
        image_size: Height and width of all images in pixels. 0: the size of the inspected images, if they have one size
            of at most 224. Otherwise squares as large as the longest side among them, up to 224.
        tasks: Folders to take, if some of them are there: the tasks of an earlier run. Others are left out.

    Raises:
        DataError: If the folders are in none of the two layouts, or one of them holds no image or cannot be read.
    """
    others = [data_dir / name for name in ("test", "val") if (data_dir / name).is_dir()]
    if not (data_dir / "train").is_dir():
        others = []
    root = data_dir / "train" if others else data_dir
    layout = _layout_of(root, _chosen(root, tasks))
    check_utf8("a task", layout.tasks)
    for other in others if layout.tasks else ():
        differing = sorted(set(_chosen(other, tasks)) ^ set(layout.tasks))
        if differing:
            raise DataError(f"Only one of {root} and {other} has the task folder {differing[0]}; give both the same.")
    read = [_read(part, layout, *(one for one in (root, *others) if one != part)) for part in (root, *others)]
    layout, (train, *others_read) = _without_empty_classes(root, layout, read)
    name = data_dir.resolve().name
    if not others:
        return _dataset(name, layout, _held_out(name, train, seed), image_size)
    test, *kept = others_read
    data = _dataset(name, layout, [_joined([train, *kept]), test], image_size)
    if not kept:
        return data
    n = len(train[0][1])
    n_kept = len(data.y) - n
    note = f"{data.note}; of those for training, the {n_kept} of {others[1].name} are kept for validation"
    return replace(data, validation=torch.arange(len(data.y)) >= n, note=note)


def only_task(folder: Path, classes: Collection[str]) -> Path | None:
    """Return the only folder in a folder, if it is a task of an earlier run's classes; else None."""
    names = folders_in(folder) if folder.is_dir() else []
    if len(names) != 1 or names[0] in classes or holds_image(folder / names[0]):
        return None
    return folder / names[0] if set(folders_in(folder / names[0])).intersection(classes) else None


def with_images_like(data: Dataset, shape: Sequence[int]) -> Dataset:
    """The data, whose image files are brought to the shape (3, H, W) of other images; all other samples as they are."""
    x, x_test = data.x, data.x_test
    if not isinstance(x, ImageFiles) or not isinstance(x_test, ImageFiles) or len(shape) != 3 or shape[0] != x.shape[1]:
        return data
    size = shape[1], shape[2]
    if size == (x.height, x.width):
        return data
    note = f"{data.note}, brought to {size[1]} x {size[0]} pixels as in the run before"
    return replace(data, x=x.at(*size), x_test=x_test.at(*size), note=note)


def _chosen(root: Path, tasks: Collection[str]) -> list[str]:
    """The folders in a folder: those that are among some tasks, or all of them if none is."""
    names = folders_in(root) if root.is_dir() else []
    return [name for name in names if name in tasks] or names


def _layout_of(root: Path, names: Sequence[str]) -> _Layout:
    """The layout of the folders `names` in a folder."""
    if len(names) < 2:
        inner = root / names[0] if names else root
        deeper = len(names) == 1 and len(folders_in(inner)) > 1
        remedy = f"if they are in {inner}, name that folder by --dataset" if deeper else "give each class a folder"
        raise _no_layout(root, f"two folders of classes at least are needed, found {len(names)}", remedy)
    inside = {name: frozenset(folders_in(root / name)) for name in names if not holds_image(root / name)}
    if _are_numbered(names) and len(inside) == len(names) and all(inside.values()):
        classes = sorted(frozenset().union(*inside.values()))
        if len(classes) > 1 and not _are_numbered(classes):
            return _task_layout(root, names, classes)
    repeated = _repeated(root, names, inside)
    if repeated is None:
        return _Layout((), tuple(names))
    if len(inside) < len(names):
        beside = next(name for name in names if name not in inside)
        raise _no_layout(root, f"{root / beside} holds images, and other folders repeat {repeated}")
    if len(set(inside.values())) > 1:
        one = names[0]
        other = next(name for name in names if inside[name] != inside[one])
        raise _no_layout(
            root,
            f"{one} holds the folders {shortened(sorted(inside[one]))}, and {other} {shortened(sorted(inside[other]))}",
            "make an empty folder for each class that a task lacks, or number the tasks in their order (2024-01, ...), "
            "which then may have different classes",
        )
    return _task_layout(root, names, sorted(inside[names[0]]))


def _are_numbered(names: Sequence[str]) -> bool:
    """True if names differ in their numbers alone, such as the months 2024-01 and 2024-02."""
    numbers = {tuple(map(int, re.findall("[0-9]+", name))) for name in names}
    return len({re.sub("[0-9]+", "#", name) for name in names}) == 1 and len(numbers) == len(names) and numbers != {()}


def _repeated(root: Path, names: Sequence[str], inside: dict[str, frozenset[str]]) -> str | None:
    """A folder name that may be a class of several tasks; None if these folders are classes.

    Args:
        root: The folder around them.
        names: All folders in it.
        inside: The folders in each folder that holds no image itself.

    Raises:
        DataError: If each holds only folders of its own, so that both levels may be the classes.
    """
    found = list(chain.from_iterable(inside.values()))
    if len(set(found)) < 2:  # all images of a class in one folder more, such as `images`
        return None
    again = sorted(name for name in set(found) if found.count(name) > 1)
    if not again and all(inside.values()) and len(inside) == len(names):
        one = next(iter(inside))
        raise _no_layout(root, f"no image lies beside the folders {shortened(sorted(inside[one]))} of {one}")
    return again[0] if again else None


def _task_layout(root: Path, tasks: Sequence[str], classes: Sequence[str]) -> _Layout:
    split = next((name for name in tasks if name.lower() in _SPLITS), None)
    if split is not None:
        others = shortened([name for name in tasks if name != split])
        raise DataError(
            f"The folder {root / split} has the name of a split, and stands beside {others}; "
            "call the two splits train and test."
        )
    for task in tasks:
        own = folders_in(root / task)
        if len(own) > 1 and _layout_of(root / task, own).tasks:
            raise _no_layout(root, f"{root / task / classes[0]} holds folders that {classes[1]} beside it repeats")
    return _Layout(tuple(sorted(tasks, key=task_order)), tuple(classes))


def _no_layout(root: Path, why: str, remedy: str = "") -> DataError:
    return DataError(
        f"The folder {root} is neither CLASS/file nor TASK/CLASS/file with the same classes in each task ({why}); "
        f"{remedy or 'move the images, and make an empty folder for each class that a task lacks'}."
    )


def _without_empty_classes(
    root: Path, layout: _Layout, read: Sequence[tuple[Labelled, Tensor | None]]
) -> tuple[_Layout, list[tuple[Labelled, Tensor | None]]]:
    """Leave out classes that have no image in any split, with a warning.

    Raises:
        DataError: If a class has images in other splits alone.
    """
    n = len(layout.classes)
    counts = torch.stack([torch.bincount(labels, minlength=n) for (_, labels), _ in read])
    trained = counts[0] > 0
    if bool(trained.all()):
        return layout, list(read)
    never = [layout.classes[label] for label in (~trained).nonzero().flatten().tolist()]
    if bool((counts.sum(0) > 0)[~trained].any()) or int(trained.sum()) < 2:
        raise DataError(f"No task of {root} has an image of the class {never[0]}; add some or remove its folders.")
    warn(f"No task of {root} has an image of the class {shortened(never)}, which is left out; add images to learn it.")
    number = trained.cumsum(0) - 1
    kept = tuple(name for name in layout.classes if name not in never)
    return _Layout(layout.tasks, kept), [((files, number[labels]), tasks) for (files, labels), tasks in read]


def _read(root: Path, layout: _Layout, *others: Path) -> tuple[Labelled, Tensor | None]:
    """The image files, their labels (n,), and their tasks (n,) if there are any.

    Args:
        root: The folder.
        layout: Its layout.
        others: Where the images of the other split are; no link leads there.
    """
    if not layout.tasks:
        return labelled(root, layout.classes, *others), None
    folders = [part / task for part in (root, *others) for task in layout.tasks]
    parts = [
        labelled(folder, layout.classes, *(other for other in folders if other != folder), may_be_empty=True)
        for folder in folders[: len(layout.tasks)]
    ]
    tasks = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(labels) for _, labels in parts]))
    return joined(parts), tasks


def _joined(parts: Sequence[tuple[Labelled, Tensor | None]]) -> tuple[Labelled, Tensor | None]:
    tasks = [own for _, own in parts if own is not None]
    return joined([own for own, _ in parts]), torch.cat(tasks) if tasks else None


def _held_out(name: str, read: tuple[Labelled, Tensor | None], seed: int) -> list[tuple[Labelled, Tensor | None]]:
    """The training and the test split: one fifth of each class, or of each class of each task."""
    (files, labels), tasks = read
    paths = files if isinstance(files, PathTable) else PathTable(files)
    if tasks is None:
        index = hold_out(name, labels.numpy(), seed)
    else:
        is_test = torch.from_numpy(hold_out_rows(name, labels.numpy(), tasks.numpy(), None, seed))
        index = (~is_test).nonzero().flatten(), is_test.nonzero().flatten()
    return [
        ((PathTable(paths[row] for row in rows.tolist()), labels[rows]), None if tasks is None else tasks[rows])
        for rows in index
    ]


def _dataset(name: str, layout: _Layout, splits: Sequence[tuple[Labelled, Tensor | None]], image_size: int) -> Dataset:
    (train, contexts), (test, contexts_test) = splits
    x, x_test = ImageFiles(train[0], image_size or 1), ImageFiles(test[0], image_size or 1)
    size, change = (image_size, image_size), "brought to "
    if not image_size:
        size, change = _natural_size(x.paths)
    data = Dataset(
        name,
        x.at(*size),
        train[1],
        x_test.at(*size),
        test[1],
        contexts=contexts,
        contexts_test=contexts_test,
        max_value=255,
        class_names=layout.classes,
        task_names=layout.tasks,
    )
    of_tasks = f" in {len(layout.tasks)} tasks ({shortened(layout.tasks)})" if layout.tasks else ""
    of_tasks += _partial_classes(layout, *splits)
    return replace(
        data,
        note=f"{name}: {len(x)} training and {len(x_test)} test images of {len(layout.classes)} classes "
        f"({shortened(layout.classes)}){of_tasks}, {change}{size[1]} x {size[0]} pixels",
    )


def _partial_classes(layout: _Layout, *splits: tuple[Labelled, Tensor | None]) -> str:
    """The classes that not all tasks have, each with its tasks, as the end of a sentence."""
    found: set[tuple[int, ...]] = set()
    for (_, labels), tasks in splits:
        if tasks is not None:
            found.update(map(tuple, torch.unique(torch.stack([labels, tasks], 1), dim=0).tolist()))
    shown = []
    for label, name in enumerate(layout.classes):
        own = [task for number, task in enumerate(layout.tasks) if (label, number) in found]
        if len(own) < len(layout.tasks):
            shown.append(f"{name} ({shortened(own)})")
    more = "; ..." if len(shown) > _MOST_PARTIAL else ""
    return f", not all with the classes {'; '.join(shown[:_MOST_PARTIAL])}{more}" if shown else ""


def _natural_size(paths: PathTable) -> tuple[tuple[int, int], str]:
    """Return the default height and width of the images, and a note on the sizes that they are resized from."""
    spread = torch.linspace(0, len(paths) - 1, min(_LOOKED_AT, len(paths)), dtype=torch.float64).long()
    found = set()
    for row in spread.tolist():
        with opened_image(paths[row]) as file:
            found.add(file.size)
    width, height = min(found)
    longest = max(max(size) for size in found)
    if len(found) == 1 and longest <= MOST_PIXELS:
        return (height, width), ""
    shown = [f"{size[0]} x {size[1]}" for size in sorted(found, key=lambda size: size[0] * size[1])]
    side = min(longest, MOST_PIXELS)
    return (side, side), f"resized from {' ... '.join(dict.fromkeys((shown[0], shown[-1])))} to "
