"""Read samples and labels of continuum's tasks, raw or transformed, and refuse data that continuum would spoil."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from redwood.core.errors import DataError
from redwood.settings.data.arrays import Samples
from redwood.settings.data.download import reason
from redwood.settings.data.folders import ImageFiles
from redwood.settings.data.transforms import torchvision_transforms

if TYPE_CHECKING:
    from continuum.datasets import _ContinuumDataset
    from continuum.scenarios import _BaseScenario
    from continuum.tasks import BaseTaskSet

_KINDS = ("IMAGE_ARRAY", "IMAGE_PATH", "TENSOR", "H5")


@dataclass(frozen=True)
class ContinuumTask:
    """One task of a scenario.

    Attributes:
        task_set: The task set of continuum.
        kind: Name of its `TaskType`.
        x: Its raw samples (N, ...).
        y: Its labels (N,), as the scenario gives them.
        steps: Its transformations besides `ToTensor`.
    """

    task_set: "BaseTaskSet"
    kind: str
    x: np.ndarray
    y: np.ndarray
    steps: list[Any]


def read_tasks(name: str, scenario: "_BaseScenario") -> list[ContinuumTask]:
    """Return the tasks of a continuum scenario.

    Raises:
        DataError: If it is no such scenario, has an empty task, or continuum would spoil its samples.
    """
    try:
        tasks = [_read_task(name, scenario[number], number) for number in range(len(scenario))]
    except (TypeError, AttributeError, KeyError) as error:
        raise DataError(
            f"Data set {name}: expected continuum scenarios, whose tasks are indexed 0..T-1; got a "
            f"{type(scenario).__name__} ({reason(error)})."
        ) from error
    empty = next((number for number, task in enumerate(tasks) if len(task.y) == 0), None)
    if empty is not None:
        raise DataError(
            f"Data set {name}: task {empty} has no samples; continuum loses samples where task ids or labels are not "
            "0, 1, 2, ... without gaps; renumber them."
        )
    return tasks


def samples(name: str, *parts: list[ContinuumTask]) -> list[Samples]:
    """Return the samples of each part (the training tasks, the test tasks), all read in the same way.

    Raises:
        DataError: If samples differ in shape or type.
    """
    tasks = [task for part in parts for task in part]
    if {task.kind for task in tasks} == {"IMAGE_PATH"}:
        sizes = {_square_size(task.steps) for task in tasks}
        if len(sizes) == 1 and None not in sizes:
            size = sizes.pop() or natural_size(tasks[0].x[0])
            return [ImageFiles([path for task in part for path in task.x], size) for part in parts]
    if any(task.steps or task.kind == "IMAGE_PATH" for task in tasks):
        return [_transformed(name, part) for part in parts]
    return [_raw(name, part) for part in parts]


def kind_of(data: "_ContinuumDataset | BaseTaskSet") -> str:
    """Return the name of the `TaskType` of a continuum data set or task set."""
    return str(data.data_type.name)


def refuse_traps(
    name: str, kind: str, x: np.ndarray | Tensor, y: np.ndarray | Tensor, boxes: np.ndarray | None
) -> None:
    """Refuse data that continuum silently spoils, or that is not for classification.

    Args:
        name: Name of the data set, for the error message.
        kind: Name of its `TaskType`.
        x: Its samples (N, ...).
        y: Its labels.
        boxes: Its bounding boxes, if any.

    Raises:
        DataError: If so, saying how to prepare the data.
    """
    if kind not in _KINDS:
        raise DataError(f"Data set {name}: only images, vectors and tensors can be used, not {kind} data.")
    if isinstance(y, Tensor) or (isinstance(x, Tensor) and kind != "TENSOR"):
        raise DataError(f"Data set {name}: continuum needs NumPy arrays, not torch tensors; pass x.numpy(), y.numpy().")
    if np.ndim(y) != 1:
        raise DataError(f"Data set {name}: each sample needs one label, got labels of shape {np.shape(y)}.")
    if boxes is not None:
        raise DataError(
            f"Data set {name}: continuum crops the images of later tasks by the bounding boxes of other images; "
            "crop them beforehand and leave the boxes out."
        )
    if kind == "IMAGE_ARRAY" and isinstance(x, np.ndarray) and not _is_bytes(x):
        raise DataError(
            f"Data set {name}: continuum casts image arrays to uint8, which would spoil these {x.dtype} values "
            f"from {x.min()} to {x.max()}; scale them to 0..255 and cast them to uint8 first."
        )


def channels_first(name: str, kind: str, x: np.ndarray) -> Tensor:
    """Return raw samples as a tensor: images H x W or H x W x C as (N, C, H, W), anything else (N, ...) as it is."""
    if kind == "TENSOR" or (kind == "H5" and x.ndim == 2):
        return torch.as_tensor(x)
    if x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] > 4):
        raise DataError(
            f"Data set {name}: images of continuum are H x W or H x W x C arrays, got {x.shape[1:]}; transpose them."
        )
    images = x[..., None] if x.ndim == 3 else x
    images = images.astype(np.uint8, copy=False) if kind == "IMAGE_ARRAY" else images
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def natural_size(path: str) -> int:
    """Return the side of the image in a file if it is square, 224 for any other."""
    try:
        with Image.open(path) as image:
            width, height = image.size
    except OSError as error:
        raise DataError(f"The image {path} cannot be read ({error}); replace it or remove it.") from error
    return width if width == height else 224


def _read_task(name: str, task_set: "BaseTaskSet", number: int) -> ContinuumTask:
    kind = kind_of(task_set)
    x, y, _ = task_set.get_raw_samples()
    if len(y):
        refuse_traps(name, kind, x, y, task_set.bounding_boxes)
    if task_set.target_trsf is not None:
        transform = task_set.get_task_target_trsf(number)
        y = np.array([transform(label) for label in y])
    transform = task_set.trsf[number] if isinstance(task_set.trsf, list) else task_set.trsf
    steps = [] if transform is None else getattr(transform, "transforms", [transform])
    steps = [step for step in steps if type(step) is not torchvision_transforms().ToTensor]
    if steps and (kind == "TENSOR" or (kind == "H5" and x.ndim == 2)):
        raise DataError(
            f"Data set {name}: continuum ignores the transformations of tensors (data_type=TaskType.TENSOR) and of "
            "vectors in an H5Dataset; transform the samples before making the data set."
        )
    return ContinuumTask(task_set, kind, x, y, steps)


def _raw(name: str, tasks: Sequence[ContinuumTask]) -> Tensor:
    arrays = [channels_first(name, task.kind, task.x) for task in tasks]
    if len({(array.shape[1:], array.dtype) for array in arrays}) > 1:
        raise DataError(
            f"Data set {name}: samples differ in shape or type from task to task; give the scenario transformations "
            "that make them alike."
        )
    return torch.cat(arrays)


def _transformed(name: str, tasks: Sequence[ContinuumTask]) -> Tensor:
    """Return the transformed samples (N, ...) of the tasks, one after the other."""
    rows: Tensor | None = None
    row = 0
    for task in tasks:
        task_set = task.task_set
        if task.kind == "IMAGE_ARRAY" and task.x.ndim == 4 and task.x.shape[3] == 1:
            task_set = copy.copy(task_set)
            task_set._x = task.x[..., 0]  # Pillow knows no images H x W x 1
        for i in range(len(task_set)):
            item = torch.as_tensor(task_set[i][0])
            if rows is None:
                rows = torch.empty((sum(len(one.y) for one in tasks), *item.shape), dtype=item.dtype)
            if item.shape != rows.shape[1:]:
                raise DataError(
                    f"Data set {name}: transformed samples differ in shape, {tuple(rows.shape[1:])} and "
                    f"{tuple(item.shape)}; give the scenario a transformation that resizes them alike."
                )
            rows[row] = item
            row += 1
    assert rows is not None  # empty tasks were refused
    return rows


def _square_size(steps: list[Any]) -> int | None:
    """The size S if `steps` only resize to S x S, which `ImageFiles` can do; 0 without steps, else None."""
    if not steps:
        return 0
    bilinear = torchvision_transforms().InterpolationMode.BILINEAR
    if len(steps) > 1 or type(steps[0]) is not torchvision_transforms().Resize or steps[0].interpolation != bilinear:
        return None
    size = steps[0].size
    return int(size[0]) if isinstance(size, (list, tuple)) and len(size) == 2 and size[0] == size[1] else None


def _is_bytes(x: np.ndarray) -> bool:
    """Tell whether a cast to uint8 keeps all values, and they are not a 0..1 image that only looks like bytes."""
    if x.dtype == np.uint8:
        return True
    if x.dtype.kind not in "iuf" or x.min() < 0 or x.max() > 255:
        return False
    return x.dtype.kind != "f" or bool(x.max() > 1 and (x == np.floor(x)).all())
