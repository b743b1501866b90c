"""Accuracy on all of scikit-learn's digits with default options: the order that every comparison relies on."""

import pytest

from redwood.methods import get_method
from redwood.settings import get_setting


def accuracy(setting, method, **options):
    results = get_setting(setting)().apply(get_method(method)(**options), quiet=True, accelerator="cpu")
    return results.metrics["average_accuracy"]


def test_fine_tuning_forgets():
    assert accuracy("class_incremental", "finetune") <= 0.25


def test_a_hundred_rehearsed_samples_prevent_most_of_it():
    assert accuracy("class_incremental", "rehearsal", buffer_size=100) >= 0.85


def test_joint_training_is_the_upper_bound():
    assert accuracy("cumulative", "joint") >= 0.95


def test_consolidation_helps_where_task_ids_are_given():
    assert accuracy("task_incremental", "ewc") > accuracy("task_incremental", "finetune") + 0.03


@pytest.mark.parametrize(("key", "bound"), [("traditional", 0.95), ("multi_task", 0.97)])
def test_stationary_data_are_learned(key, bound):
    assert accuracy(key, "finetune") >= bound
