"""Warnings of tasks that say nothing, and of samples that a network would hardly see."""

import warnings

import pytest
import torch

from redwood.settings import Dataset
from redwood.settings.tree import (
    ClassIncrementalSetting,
    DomainIncrementalSetting,
    MultiTaskSetting,
    TaskIncrementalSetting,
)

Y = torch.arange(24) % 4
X = torch.arange(48, dtype=torch.uint8).view(24, 2)


def warned_of(setting, x=X, max_value=47, y=Y, t=None, **options):
    data = Dataset.from_arrays(x, y, x, y, t, t, max_value=max_value)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        setting(dataset=data, **options).open_stream()
    return [str(each.message) for each in caught]


@pytest.mark.parametrize(
    ("setting", "tasks", "known"),
    [
        (DomainIncrementalSetting, 2, False),
        (DomainIncrementalSetting, 4, True),
        (TaskIncrementalSetting, 2, False),
        (TaskIncrementalSetting, 4, True),
        (ClassIncrementalSetting, 4, False),
    ],
)
def test_a_task_at_test_that_leaves_one_class_is_told(setting, tasks, known):
    found = warned_of(setting, nb_tasks=tasks)
    assert len(found) == known and all("one class to choose from" in text for text in found)


T = torch.arange(24) // 12


@pytest.mark.parametrize(
    ("setting", "more", "shared"),
    [
        (TaskIncrementalSetting, {"t": T}, True),
        (MultiTaskSetting, {"stream": "instance", "nb_tasks": 2}, True),
        (TaskIncrementalSetting, {"y": Y + 4 * T, "t": T}, False),
        (TaskIncrementalSetting, {"y": Y % (3 + T), "t": T}, False),
        (TaskIncrementalSetting, {"t": 0 * T}, False),
        (TaskIncrementalSetting, {"stream": "permuted", "nb_tasks": 2}, False),
        (DomainIncrementalSetting, {"t": T}, False),
        (ClassIncrementalSetting, {"t": T}, False),
    ],
)
def test_tasks_that_are_told_but_share_all_outputs_are_told(setting, more, shared):
    found = warned_of(setting, **more)
    assert len(found) == shared
    assert all("All 2 tasks of arrays have the same 4 classes" in text and "y + 4 * t, else" in text for text in found)


def test_data_of_one_class_are_told():
    (found,) = warned_of(ClassIncrementalSetting, y=torch.zeros_like(Y), nb_tasks=1)
    assert found.startswith("The data arrays has one class") and "class_incremental" not in found


@pytest.mark.parametrize(
    ("x", "max_value", "dark"),
    [(X, None, True), (X, 47, False), (X + 100, None, False), (X.short(), None, False), (X.float(), None, False)],
)
def test_bytes_in_a_small_part_of_their_range_are_told(x, max_value, dark):
    found = warned_of(ClassIncrementalSetting, x, max_value, nb_tasks=2)
    assert len(found) == dark and all("bytes in 0..47, and bytes are divided by 255" in text for text in found)
