"""Join the samples of several tasks to one data set: one shape and dtype, labels that follow each other."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from redwood.core.errors import DataError
from redwood.settings.data.conversion import resize_images
from redwood.settings.data.dataset import Dataset, are_numbers, shortened
from redwood.settings.data.views import Draws, TaskSamples, View, cut

GREY, COLOUR = 1, 3


def combine(name: str, views: Sequence[View], load: Callable[[str], Dataset], seed: int) -> Dataset:
    """One data set of all tasks: `contexts` is the number of the view, and the labels of a task follow those before.

    Classes keep their names, if any has one; beside these, a class without a name is called by its number.

    Images are brought to the largest side and, if any are in colour, to three channels. Integers of different ranges
    become uint8 in 0..255.

    Args:
        name: Name of the result.
        views: The tasks, in the order of the stream.
        load: Loads a data set by its name; it is asked for each view.
        seed: Draws the samples of the views.

    Raises:
        DataError: If a view does not fit its data set, or the samples of two tasks cannot be brought to one form.
    """
    draws = Draws(seed)
    tasks = _alike(name, [cut(view, load(view.dataset), draws) for view in views])
    labels, labels_test, n_labels = [], [], 0
    for task in tasks:
        labels.append(task.y + n_labels)
        labels_test.append(task.y_test + n_labels)
        n_labels += int(task.y.max()) + 1
    validation = torch.cat([task.validation for task in tasks])
    names = [name for task in tasks for name in task.class_names or map(str, task.classes)]
    return Dataset(
        name=name,
        x=torch.cat([task.x for task in tasks]),
        y=torch.cat(labels),
        x_test=torch.cat([task.x_test for task in tasks]),
        y_test=torch.cat(labels_test),
        contexts=torch.cat([torch.full_like(task.y, number) for number, task in enumerate(tasks)]),
        contexts_test=torch.cat([torch.full_like(task.y_test, number) for number, task in enumerate(tasks)]),
        max_value=tasks[0].max_value,
        validation=validation if bool(validation.any()) else None,
        class_names=tuple(names) if any(task.class_names for task in tasks) else (),
        class_numbers=tuple(label for task in tasks for label in task.classes),
        by_place=all(view.classes for view in views),
    )


def check_classes_in_common(name: str, views: Sequence[View], data: Dataset) -> None:
    """Check that tasks can share outputs: where classes have names, each task has one of them in common with others.

    Where every view lists its classes, their places say which ones share an output, and names may differ.

    Args:
        name: The stream, for the message.
        views: The tasks.
        data: The result of `combine` for them.

    Raises:
        DataError: If a task has no such class.
    """
    assert data.contexts is not None
    called = [[data.called[label] for label in data.y[data.contexts == n].unique()] for n in range(len(views))]
    if data.by_place or not data.class_names or any(map(are_numbers, called)):
        return
    for number, (view, own) in enumerate(zip(views, called, strict=True)):
        others = {one for n, names in enumerate(called) if n != number for one in names}
        if others and others.isdisjoint(own):
            raise DataError(
                f"The tasks of {name} share their outputs, but no class of {view.title} ({shortened(own)}) is one of "
                f"the other tasks ({shortened(sorted(others))}); call them alike, or list the classes of each task in "
                "--stream_file, in the order of the outputs."
            )


def _alike(name: str, tasks: list[TaskSamples]) -> list[TaskSamples]:
    """The tasks with samples of one shape, dtype and range."""
    forms = {(task.x.shape[1:], task.x.dtype, task.max_value) for task in tasks}
    if len(forms) == 1:
        return tasks
    first = tasks[0]
    for task in tasks:
        if task.x.dtype.is_floating_point != first.x.dtype.is_floating_point:
            raise DataError(
                f"{name} mixes samples of {first.x.dtype} ({first.title}) and {task.x.dtype} ({task.title}); "
                "store both as integers or both as floats."
            )
    if len({(task.x.dtype, task.max_value) for task in tasks}) > 1 and not first.x.dtype.is_floating_point:
        tasks = [_as_bytes(task) for task in tasks]
    if len({task.x.shape[1:] for task in tasks}) > 1:
        tasks = _of_one_shape(name, tasks)
    return tasks


def _as_bytes(task: TaskSamples) -> TaskSamples:
    """Integers in 0..max_value as uint8 in 0..255."""
    highest = task.max_value or 255.0

    def scaled(x: Tensor) -> Tensor:
        return x if highest == 255.0 and x.dtype == torch.uint8 else (x.float() * (255.0 / highest)).round().byte()

    return replace(task, x=scaled(task.x), x_test=scaled(task.x_test), max_value=255.0)


def _of_one_shape(name: str, tasks: list[TaskSamples]) -> list[TaskSamples]:
    shapes = [tuple(task.x.shape[1:]) for task in tasks]
    for task, shape in zip(tasks, shapes, strict=True):
        if len(shape) != 3 or shape[0] not in (GREY, COLOUR):
            other = next(number for number, found in enumerate(shapes) if found != shape)
            raise DataError(
                f"{name} cannot bring samples of shape {shape} ({task.title}) and {shapes[other]} "
                f"({tasks[other].title}) to one shape; use images of one or three channels, or vectors of one length."
            )
    side = max(max(shape[1:]) for shape in shapes)
    channels = max(shape[0] for shape in shapes)

    def fitted(x: Tensor) -> Tensor:
        x = x if tuple(x.shape[2:]) == (side, side) else resize_images(x, side)
        return x.expand(-1, channels, -1, -1).contiguous() if x.shape[1] < channels else x

    return [replace(task, x=fitted(task.x), x_test=fitted(task.x_test)) for task in tasks]
