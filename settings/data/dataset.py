"""A data set in memory or in files, with classes, label sets or numbers to predict. Every stream is cut from one."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import DataError
from redwood.settings.data.arrays import (
    Samples,
    check_channels,
    check_whole_numbers,
    drawn,
    numbered,
    samples_of,
    targets_of,
    task_ids_of,
    times_of,
)
from redwood.settings.data.checks import (
    check_class_names,
    check_contexts,
    check_label_sets,
    check_labels,
    check_names_differ,
    check_no_tests,
    check_split,
    check_targets,
    check_times,
    check_utf8,
    check_validation,
)
from redwood.settings.data.given_arrays import check_order, coded_texts, with_tests
from redwood.settings.data.slices import check_slices, coded_slices

_HASHED_SAMPLES = 16


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split in their storage dtype (uint8 images stay uint8).

    Attributes:
        name: Name in results.
        x: Training samples (N, ...).
        y: Training labels (N,), int64 in 0..K-1; or label sets (N, L), bool, where a sample may have several labels;
            or, for regression, targets (N,) or (N, d), float32.
        x_test: Test samples (M, ...).
        y_test: Test labels (M,), label sets (M, L), or targets (M,) or (M, d).
        contexts: Task of each training sample (N,), if the data has tasks of its own; else None.
        contexts_test: Task of each test sample (M,); given if and only if `contexts` is.
        max_value: Largest possible value of integer samples, by which they are scaled. None: no scaling.
        time: When each training sample was taken (N,), float64. None: in the order of the rows.
        time_test: When each test sample was taken (M,); given if and only if `time` is.
        ordered: Whether the order of the samples matters. In regression it always does.
        validation: Training samples (N,), bool, that the data set keeps for validation: a stream serves them as
            `phase.validation` of their task, and never in training. None: the option `validation` decides.
        slices: Slice of each training sample (N,), int64 in 0..S-1, whose scores are reported apart. None: the classes.
        slices_test: Slice of each test sample (M,); given if and only if `slices` is.
        slice_names: Name of each slice (S,).
        class_names: Name of each class (K,), or of each label (L,). Empty: they are called by their numbers. Classes of
            different tasks may have the same name.
        class_numbers: Number of each class (K,) in the data set that it comes from, where several were joined to one.
            Empty: the classes are numbered as they were.
        by_place: Whether tasks of `contexts` that share outputs do so by the order of their classes, not by names.
        task_names: Name of each task of `contexts` (T,), such as its month. Empty: they are called by their numbers.
        feature_names: Name of each feature (D,), where samples are vectors of them. Empty: they are not compared with
            those of other data.
        tasks_follow_time: Whether each task of `contexts` ends before the next one begins: a stream that announces
            nothing then keeps the order of `time`.
        compare_all: Whether a run is only resumed with exactly these samples; else some of them are compared.
        note: How it was read, as a run tells the user in its first line; empty: there is nothing to tell.

    Raises:
        DataError: If shapes disagree, labels are not 0..K-1, or a value is not finite.
    """

    name: str
    x: Samples
    y: Tensor
    x_test: Samples
    y_test: Tensor
    contexts: Tensor | None = None
    contexts_test: Tensor | None = None
    max_value: float | None = None
    time: Tensor | None = None
    time_test: Tensor | None = None
    ordered: bool = False
    validation: Tensor | None = None
    slices: Tensor | None = None
    slices_test: Tensor | None = None
    slice_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    class_numbers: tuple[int, ...] = ()
    by_place: bool = False
    task_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    tasks_follow_time: bool = False
    compare_all: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        check_utf8("a data set", [self.name])
        check_split(self.name, "training", self.x, self.y, self.contexts)
        check_split(self.name, "test", self.x_test, self.y_test, self.contexts_test)
        if self.x.shape[1:] != self.x_test.shape[1:] or self.x.dtype != self.x_test.dtype:
            raise DataError(
                f"Data set {self.name}: training samples are {tuple(self.x.shape[1:])} {self.x.dtype}, "
                f"test samples {tuple(self.x_test.shape[1:])} {self.x_test.dtype}; make them alike."
            )
        if self.is_regression or self.y_test.dtype.is_floating_point:
            check_targets(self.name, self.y, self.y_test)
        elif self.is_multi_label or self.y_test.dtype == torch.bool:
            check_label_sets(self.name, self.y, self.y_test)
        else:
            check_labels(self.name, self.y, self.y_test)
        if (self.contexts is None) != (self.contexts_test is None):
            raise DataError(
                f"Data set {self.name}: give task ids for both the training and the test samples, or for neither."
            )
        if self.contexts is not None and self.contexts_test is not None:
            check_contexts(self.name, self.contexts, self.contexts_test, self.task_names)
        check_times(self.name, (self.time, self.y), (self.time_test, self.y_test))
        if self.validation is not None:
            check_validation(self.name, self.validation, self.y, self.contexts)
        check_slices(self.name, self.slice_names, (self.slices, self.y), (self.slices_test, self.y_test))
        if self.class_names:
            check_class_names(self.name, self.class_names, None if self.is_regression else self.n_classes)
            check_names_differ(self.name, self.class_names, self.y, self.contexts)

    def __repr__(self) -> str:
        """One line: the name, and what it holds."""
        form = f"{self.sample_shape} {str(self.x.dtype).removeprefix('torch.')}"
        called = "" if are_numbers(self.called) else f" ({shortened(self.called)})"
        targets = {
            "classes": f"{self.n_outputs} classes{called}",
            "multi_label": f"{self.n_outputs} labels{called}",
            "regression": f"numbers to predict, {self.n_outputs} for each sample",
        }[self.kind]
        tasks = "" if self.contexts is None else f", {int(self.contexts.max()) + 1} tasks"
        tasks += f" ({shortened(self.task_names)})" if self.task_names else ""
        counts = f"{len(self.x):,} training and {len(self.x_test):,} test samples"
        return f"<Dataset {self.name}: {counts} {form}, {targets}{tasks}>"

    @property
    def is_regression(self) -> bool:
        """True if the targets are numbers, not classes."""
        return self.y.dtype.is_floating_point

    @property
    def is_multi_label(self) -> bool:
        """True if a sample may have several labels."""
        return self.y.dtype == torch.bool

    @property
    def kind(self) -> str:
        """The kind of the targets: `classes`, `multi_label` or `regression`."""
        return "regression" if self.is_regression else "multi_label" if self.is_multi_label else "classes"

    @property
    def keeps_order(self) -> bool:
        """True if `--stream auto` keeps the order of the samples, unless the data has tasks of its own."""
        return self.ordered or self.is_regression

    @property
    def n_classes(self) -> int:
        """Number of classes K, or of labels L."""
        return self.y.shape[1] if self.is_multi_label else int(self.y.max()) + 1

    @property
    def called(self) -> tuple[str, ...]:
        """The name of each class or label (K,); without names, its number in the data set that it comes from."""
        return self.class_names or tuple(map(str, self.class_numbers or range(self.n_classes)))

    @property
    def n_outputs(self) -> int:
        """Number of classes K, of labels L, or of numbers to predict for each sample."""
        return self.y[0].numel() if self.is_regression else self.n_classes

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.x.shape[1:])

    def without_tests(self) -> "Dataset":
        """The same training samples, which stand in for the test samples, too: tasks are cut as with tests."""
        return replace(
            self,
            x_test=self.x,
            y_test=self.y,
            contexts_test=self.contexts,
            time_test=self.time,
            slices_test=self.slices,
        )

    @classmethod
    def from_arrays(
        cls,
        x: np.ndarray | Tensor,
        y: np.ndarray | Tensor,
        x_test: np.ndarray | Tensor | None = None,
        y_test: np.ndarray | Tensor | None = None,
        t: np.ndarray | Tensor | None = None,
        t_test: np.ndarray | Tensor | None = None,
        *,
        name: str = "arrays",
        max_value: float | None = None,
        time: np.ndarray | Tensor | None = None,
        time_test: np.ndarray | Tensor | None = None,
        ordered: bool | None = None,
        validation: np.ndarray | Tensor | None = None,
        slices: np.ndarray | Tensor | None = None,
        slices_test: np.ndarray | Tensor | None = None,
        class_names: Sequence[str] = (),
        task_names: Sequence[str] = (),
        seed: int = 0,
    ) -> "Dataset":
        """Make a data set from NumPy arrays or tensors.

        Without `x_test` and `y_test`, one fifth of the samples is the test: the same share of each class, in each task.
        Where the order matters, and in regression, it is one of about five consecutive samples.

        Args:
            x: Training samples (N, ...); integer samples keep their dtype, floats become float32.
            y: Training labels (N,), integers or texts; or label sets (N, L), bool; or targets (N,) or (N, d) of
                regression, floats. Texts are numbered in their order, and name the classes. Labels with gaps, such as
                6..9, become 0..K-1, and the names of their classes.
            x_test: Test samples (M, ...).
            y_test: Test labels (M,), label sets (M, L), or targets (M,) or (M, d).
            t: Task of each training sample (N,), integers 0..T-1 or texts, which name the tasks and are numbered in
                their order, `week 2` before `week 10`; None lets the setting cut the tasks.
            t_test: Task of each test sample (M,).
            name: Name in results.
            max_value: Largest value of integer samples (default: 255 for bytes, else the largest in training).
            time: When each training sample was taken (N,), any numbers or dates; None: in the order of the rows.
            time_test: When each test sample was taken (M,).
            ordered: Whether the order of the samples matters (default: if `time` is given).
            validation: Mask (N,), bool, of the training samples that are kept for validation.
            slices: Slice of each training sample (N,), numbers or strings; None: the classes are the slices.
            slices_test: Slice of each test sample (M,).
            class_names: Name of each label from 0 on, (K,) or more; or of each column of label sets (L,).
            task_names: Name of each task of `t` (T,), if these are integers.
            seed: Draws the test samples, if none are given.
        """
        ordered = time is not None if ordered is None else ordered
        check_order(name, x, y, x_test)
        (y, *coded), of_texts = coded_texts(f"Data set {name}", "y", y, *([] if y_test is None else [y_test]))
        if of_texts and len(class_names):
            raise DataError(f"Data set {name}: labels that are texts name their classes; leave class_names out.")
        t, t_test, task_names = _coded_tasks(name, t, t_test, task_names)
        class_names = of_texts or class_names
        if x_test is None or y_test is None:
            tests = {"x": x_test, "y": y_test, "t": t_test, "time": time_test, "slices": slices_test}
            check_no_tests(name, tests)
            given = {"x": x, "y": y, "t": t, "time": time, "slices": slices, "validation": validation}
            split = with_tests(name, given, ordered=ordered, seed=seed)
            split.pop("validation_test", None)
            return cls.from_arrays(
                **split,
                name=name,
                max_value=max_value,
                ordered=ordered,
                class_names=class_names,
                task_names=task_names,
            )
        samples, samples_test = samples_of(name, x), samples_of(name, x_test)
        # Checkpoints hold plain texts; those of NumPy are of a class of their own.
        names = tuple(str(one) if isinstance(one, str) else one for one in class_names)
        targets, targets_test, names = numbered(name, targets_of(name, y), targets_of(name, coded[0]), names)
        codes, codes_test, slice_names = coded_slices(name, slices, slices_test)
        check_channels(name, samples)
        check_whole_numbers(name, targets)
        if max_value is None and not samples.dtype.is_floating_point and samples.numel():
            max_value = 255.0 if samples.dtype == torch.uint8 else float(samples.max())
        return cls(
            name=name,
            x=samples,
            y=targets,
            x_test=samples_test,
            y_test=targets_test,
            contexts=None if t is None else task_ids_of(name, t),
            contexts_test=None if t_test is None else task_ids_of(name, t_test),
            max_value=max_value,
            time=None if time is None else times_of(name, time),
            time_test=None if time_test is None else times_of(name, time_test),
            ordered=ordered,
            validation=None if validation is None else torch.as_tensor(validation),
            slices=codes,
            slices_test=codes_test,
            slice_names=slice_names,
            class_names=names,
            task_names=tuple(map(str, task_names)),
        )


def _coded_tasks(name: str, t: Any, t_test: Any, names: Sequence[str]) -> tuple[Any, Any, Sequence[str]]:
    """The tasks of both splits as numbers, and their names."""
    if t is None:
        if len(names):
            raise DataError(f"Data set {name}: task_names are those of the tasks t; give t, too.")
        return t, t_test, names
    coded, of_texts = coded_texts(f"Data set {name}", "t", t, *([] if t_test is None else [t_test]), order=task_order)
    if of_texts and len(names):
        raise DataError(f"Data set {name}: tasks that are texts have names; leave task_names out.")
    return coded[0], coded[1] if len(coded) > 1 else None, of_texts or names


def are_numbers(names: Iterable[str]) -> bool:
    """True if all names are numbers, as those of classes without names."""
    return all(name.isdecimal() for name in names)


def shortened(names: Sequence[str]) -> str:
    """The first names of classes, for a message."""
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def describe_data(data: Dataset) -> dict[str, object]:
    """Size, shape and dtype of both splits; hashes of labels, task ids, times, slices, masks, and of some samples."""
    facts: dict[str, object] = {}
    splits = (
        ("training", data.x, data.y, data.contexts, data.time, data.slices),
        ("test", data.x_test, data.y_test, data.contexts_test, data.time_test, data.slices_test),
    )
    for name, x, y, contexts, time, slices in splits:
        rows = torch.linspace(0, len(x) - 1, min(_HASHED_SAMPLES, len(x)), dtype=torch.float64).long()
        facts |= {
            f"{name} samples": f"{len(x)} of shape {tuple(x.shape[1:])}, {x.dtype}",
            f"hash of {name} labels": _hash(y),
            f"hash of a few {name} samples": _hash(drawn(x, rows, 0, "described")),
        }
        if contexts is not None:
            facts[f"hash of {name} task ids"] = _hash(contexts)
        if time is not None:
            facts[f"hash of {name} times"] = _hash(time)
        if slices is not None:
            facts[f"hash of {name} slices"] = _hash(slices)
        if data.compare_all and isinstance(x, Tensor):
            facts[f"hash of all {name} samples"] = _hash(x)
    if data.validation is not None:
        facts["hash of validation mask"] = _hash(data.validation)
    return facts


def task_order(name: str) -> list[tuple[int, str]]:
    """Return what the names of tasks are sorted by: numbers in them count by their value, so that 2 precedes 10."""
    texts = re.split("0*([0-9]+)", name)  # a number stands at each odd place; a longer one is larger
    return [(len(text) * (place % 2), text) for place, text in enumerate(texts)]


def _hash(values: Tensor) -> str:
    digest = hashlib.sha256(f"{tuple(values.shape)} {values.dtype}".encode())
    digest.update(values.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
