"""Accuracy on all of scikit-learn's digits with default options: the order that every comparison relies on."""

import functools

import pytest

from redwood.methods import get_method
from redwood.settings import get_setting


@functools.cache
def accuracy(setting, method, **options):
    results = get_setting(setting)().apply(get_method(method)(**options), quiet=True, accelerator="cpu")
    return results.metrics["average_accuracy"]


def test_fine_tuning_forgets():
    assert accuracy("class_incremental", "finetune") <= 0.25


def test_a_hundred_rehearsed_samples_prevent_most_of_it():
    assert accuracy("class_incremental", "rehearsal", buffer_size=100) >= 0.85


@pytest.mark.slow
def test_twenty_exemplars_do_more_for_icarl_than_for_rehearsal():
    icarl, rehearsal = (accuracy("class_incremental", method, buffer_size=20) for method in ("icarl", "rehearsal"))
    assert icarl >= rehearsal + 0.1
    assert icarl >= 0.85


@pytest.mark.slow
def test_distillation_needs_exemplars_and_exemplars_need_distillation():
    """The order of Rebuffi et al. (2017), with 20 samples stored."""

    def mean(method, **options):
        setting = get_setting("class_incremental")
        runs = (setting(seed=s).apply(get_method(method)(**options), quiet=True, accelerator="cpu") for s in range(3))
        return sum(run.metrics["average_accuracy"] for run in runs) / 3

    icarl, rehearsal = (mean(method, buffer_size=20) for method in ("icarl", "rehearsal"))
    lwf_mc, finetune = mean("lwf_mc"), mean("finetune")
    assert icarl >= rehearsal + 0.15
    assert icarl >= lwf_mc + 0.25
    assert rehearsal > lwf_mc > finetune
    assert finetune <= 0.25


@pytest.mark.parametrize(
    ("method", "bound"), [("er_ace", 0.8), ("der", 0.8), ("der_pp", 0.85), ("mir", 0.8), ("gdumb", 0.85)]
)
@pytest.mark.slow
def test_a_hundred_samples_serve_the_other_methods_of_rehearsal_as_well(method, bound):
    assert accuracy("class_incremental", method, buffer_size=100) >= bound


@pytest.mark.slow
def test_gradients_alone_do_not_prevent_forgetting_but_help_where_task_ids_are_given():
    """As the literature reports of A-GEM."""
    assert accuracy("task_incremental", "agem") > accuracy("task_incremental", "finetune")


def test_joint_training_is_the_upper_bound():
    assert accuracy("cumulative", "joint") >= 0.95


def test_consolidation_helps_where_task_ids_are_given():
    assert accuracy("task_incremental", "ewc") > accuracy("task_incremental", "finetune") + 0.03


@pytest.mark.parametrize(("key", "bound"), [("traditional", 0.95), ("multi_task", 0.97)])
@pytest.mark.few(1)
def test_stationary_data_are_learned(key, bound):
    assert accuracy(key, "finetune") >= bound
