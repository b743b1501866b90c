"""Checks of a data set: each raises `DataError` with one sentence that says how to mend the data."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from redwood.core.errors import DataError
from redwood.settings.data.arrays import Samples, flattening


def check_split(name: str, split: str, x: Samples, y: Tensor, contexts: Tensor | None) -> None:
    """Check the shapes of one split, and the values of its samples."""
    dims = (1, 2) if y.dtype.is_floating_point or y.dtype == torch.bool else (1,)
    if not len(x.shape) or not y.dim():
        raise DataError(f"Data set {name}: the {split} samples and labels need a first dimension, one row for each.")
    if not len(x):
        raise DataError(f"Data set {name}: there are no {split} samples; add some.")
    if y.dim() not in dims or len(x) != len(y) or (contexts is not None and contexts.shape != y.shape[:1]):
        raise DataError(
            f"Data set {name}: {len(x)} {split} samples need as many labels (and task ids) in one dimension"
            f"{' or two' if len(dims) > 1 else ''}, got labels of shape {tuple(y.shape)}{flattening(y)}."
        )
    if 0 in x.shape[1:]:
        raise DataError(
            f"Data set {name}: the {split} samples of shape {tuple(x.shape[1:])} hold no value; add features."
        )
    if isinstance(x, Tensor) and x.dtype in (torch.int8, torch.int16, torch.int32, torch.int64) and int(x.min()) < 0:
        raise DataError(f"Data set {name}: the {split} samples hold negative integers; convert them to floats.")
    if isinstance(x, Tensor) and x.dtype.is_floating_point and not bool(torch.isfinite(x).all()):
        raise DataError(f"Data set {name}: the {split} samples hold NaN or infinite values; clean them first.")


def check_targets(name: str, y: Tensor, y_test: Tensor) -> None:
    """Check targets of regression."""
    if y.shape[1:] != y_test.shape[1:] or y.dtype != y_test.dtype:
        raise DataError(
            f"Data set {name}: training targets are {tuple(y.shape[1:])} {y.dtype}, test targets "
            f"{tuple(y_test.shape[1:])} {y_test.dtype}; make them alike."
        )
    if not y[0].numel() or not all(bool(torch.isfinite(values).all()) for values in (y, y_test)):
        raise DataError(f"Data set {name}: the targets are empty, or hold NaN or infinite values; clean them first.")


def check_labels(name: str, y: Tensor, y_test: Tensor) -> None:
    """Check that labels are 0..K-1, and that no test label is unknown."""
    present = torch.unique(y)
    if int(present[0]) < 0:
        raise DataError(f"Data set {name}: labels must not be negative, got {int(present[0])}; number them from 0 on.")
    if not torch.equal(present, torch.arange(len(present))):
        raise DataError(
            f"Data set {name}: labels must be 0..K-1 without gaps, got {_shorten(present)}; renumber them "
            "(numpy.unique(y, return_inverse=True)[1] does it)."
        )
    unknown = torch.unique(y_test[(y_test < 0) | (y_test >= len(present))])
    if len(unknown):
        raise DataError(f"Data set {name}: the test labels {_shorten(unknown)} never occur in training.")


def check_label_sets(name: str, y: Tensor, y_test: Tensor) -> None:
    """Check label sets (N, L): both splits have the same labels, and some training sample has each of them."""
    if y.dim() != 2 or y.dtype != torch.bool or y.dtype != y_test.dtype or y.shape[1:] != y_test.shape[1:]:
        raise DataError(
            f"Data set {name}: the training labels are {tuple(y.shape)} {y.dtype}, the test labels "
            f"{tuple(y_test.shape)} {y_test.dtype}; give both as sets of the same labels, (N, L) bool."
        )
    missing = (~y.any(0)).nonzero().flatten()
    if y.shape[1] < 2 or len(missing):
        what = f"no training sample has the labels {_shorten(missing)}" if len(missing) else "there is one label only"
        raise DataError(f"Data set {name}: {what}; drop such columns of y, and keep two at least.")


def check_no_tests(name: str, tests: Mapping[str, object]) -> None:
    """Check that no array of test samples is given where the test is held out of the others."""
    given = [f"{key}_test" for key, array in tests.items() if array is not None]
    missing = [f"{key}_test" for key in ("x", "y") if tests[key] is None]
    if given:
        raise DataError(
            f"Data set {name}: {given[0]} needs {' and '.join(missing)}; give both, or no array of test samples."
        )


def check_contexts(name: str, contexts: Tensor, contexts_test: Tensor, names: tuple[str, ...]) -> None:
    """Check that task ids are 0..T-1, that each task has training and test samples, and that all or none have names."""
    present, tested = torch.unique(contexts), torch.unique(contexts_test)
    if not torch.equal(present, torch.arange(len(present))) or not torch.equal(present, tested):
        raise DataError(
            f"Data set {name}: task ids must be 0..T-1 and each needs training and test samples, "
            f"got {_shorten(present)} in training and {_shorten(tested)} at test."
        )
    if names and len(names) != len(present):
        raise DataError(f"Data set {name}: {len(names)} names do not fit {len(present)} tasks; give one to each task.")


def check_times(name: str, *splits: tuple[Tensor | None, Tensor]) -> None:
    """Check the times of each split."""
    given = [(time, y) for time, y in splits if time is not None]
    if len(given) == 1:
        raise DataError(f"Data set {name}: give times for both the training and the test samples, or for neither.")
    for time, y in given:
        if time.shape != y.shape[:1]:
            raise DataError(f"Data set {name}: {len(y)} samples need as many times, got shape {tuple(time.shape)}.")
        if not bool(torch.isfinite(time).all()):
            raise DataError(f"Data set {name}: the times hold NaN or infinite values; clean them first.")


def check_validation(name: str, validation: Tensor, y: Tensor, contexts: Tensor | None) -> None:
    """Check the mask of validation samples: each class and each task needs other samples to train on."""
    if validation.dtype != torch.bool or validation.shape != y.shape[:1]:
        raise DataError(
            f"Data set {name}: the validation mask needs one bool for each of the {len(y)} training samples, "
            f"got {tuple(validation.shape)} {validation.dtype}."
        )
    kinds = {"class": y if y.dtype == torch.int64 else None, "task": contexts}
    for kind, numbers in kinds.items():
        if numbers is None:
            continue
        missing = sorted(set(numbers.unique().tolist()) - set(numbers[~validation].unique().tolist()))
        if missing:
            raise DataError(
                f"Data set {name}: all training samples of {kind} {missing[0]} are kept for validation; keep fewer."
            )
    if bool(validation.all()):
        raise DataError(f"Data set {name}: all training samples are kept for validation; keep fewer.")


def check_class_names(name: str, names: tuple[str, ...], n_classes: int | None) -> None:
    """Check that each class has a name; `n_classes` is None where numbers are predicted."""
    if n_classes is None:
        raise DataError(f"Data set {name}: numbers are predicted, which have no class names; leave them out.")
    if len(names) != n_classes:
        raise DataError(f"Data set {name}: {n_classes} classes need as many names, got {len(names)}.")
    if not all(isinstance(one, str) and one for one in names):
        raise DataError(f"Data set {name}: class names have to be texts that are not empty; convert them by str.")
    check_utf8("a class", names)


def check_names_differ(name: str, names: tuple[str, ...], y: Tensor, contexts: Tensor | None) -> None:
    """Check that no two classes of one task have the same name; without tasks, that no two classes have."""
    by_name: dict[str, list[int]] = {}
    for label, own in enumerate(names):
        by_name.setdefault(own, []).append(label)
    for own, labels in by_name.items():
        if len(labels) > 1 and not _of_different_tasks(labels, y, contexts):
            raise DataError(f"Data set {name}: two classes are called {own!r}; give each a name of its own.")


def _of_different_tasks(labels: list[int], y: Tensor, contexts: Tensor | None) -> bool:
    """True if each task has samples of one of these classes at most."""
    if contexts is None or y.dim() > 1:
        return False
    tasks = torch.cat([contexts[y == label].unique() for label in labels])
    return len(tasks.unique()) == len(tasks)


def check_utf8(what: str, names: Iterable[str]) -> None:
    """Refuse names of folders that are no UTF-8: no result, table or picture could hold them."""
    for name in names:
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise DataError(f"The name of {what}, {name!a}, is no UTF-8; rename its folder.")


def _shorten(values: Tensor) -> str:
    shown = [str(v) for v in values[:6].tolist()]
    return "{" + ", ".join(shown) + (", ..." if len(values) > 6 else "") + "}"
