"""Every method runs on every supervised setting it applies to, most pairs as slow tests; agents: test_rl_pairs.py."""

import json
import math

import numpy as np
import pytest
import torch

from redwood.methods import METHODS, get_method
from redwood.methods.lightning import LightningMethod
from redwood.settings import SETTINGS, get_setting
from redwood.settings.base import why_not_applicable
from redwood.settings.scores.results import Results
from tests.small_runs import comparable, once, small_setting, train_pair

N_TASKS, N_TRAIN = 3, 160
READ_ONCE = ("gdumb", "ncm", "slda", "ranpac", "moving_window", "just_in_time")
MODULAR = ("independent", "finetune_from", "mntdp", "composable")
BUYERS = ("uniform", "water_filling", "slice_tuner")
KEEP_NOTHING = (
    *(
        "random",
        "finetune",
        "stable_sgd",
        "background",
        "semi_supervised",
        "widen",
        "joint",
        "pnn",
        "c_ada",
        "fixed",
        "fedavg",
    ),
    *("maml", "anil", "reuse_outputs", *MODULAR),
    *BUYERS,
)
PAIRS = [
    (setting, method)
    for setting in SETTINGS
    for method in METHODS
    if get_setting(setting).assumptions.labels and why_not_applicable(get_setting(setting), get_method(method)) is None
]
ALONE = [pair for pair in PAIRS if get_setting(pair[0]).assumptions.workers.low == 1]
TOGETHER = [pair for pair in PAIRS if pair not in ALONE]


def check_results(results, setting_key, method_key):
    setting = small_setting(setting_key)
    phases = N_TASKS if setting.assumptions.boundaries and setting.assumptions.context < 2 else 1
    assert (results.setting, results.method, results.dataset) == (setting_key, method_key, "few_digits")
    if "buys_data" in setting.assumptions:
        check_purchases(results)
        return
    assert [len(row) for row in results.accuracy_matrix] == [N_TASKS] * phases
    assert all(0 <= value <= 1 for row in results.accuracy_matrix for value in row)
    seen = results.online_curve[-1][0]
    # The one epoch of clients holds all passes.
    reads_once = method_key in READ_ONCE and setting.assumptions.boundaries and "clients" not in setting.assumptions
    labels = [row[-1] for row in getattr(results, "labels_used", [])]
    assert results.cost.training_samples == (sum(labels) or (1 if reads_once else setting.passes) * seen)
    assert bool(labels) == ("labels_on_request" in setting.assumptions)
    assert seen == N_TRAIN or (setting.assumptions.past_accessible and seen > N_TRAIN)
    assert (results.metrics["forward_transfer"] is None) == (phases == 1)
    if issubclass(get_method(method_key), LightningMethod):
        assert results.cost.training_flops > 0
        assert results.cost.parameters > 0
    assert (results.cost.buffer_bytes > 0) == (method_key not in KEEP_NOTHING)
    content = json.loads(json.dumps(results.to_dict()))
    assert Results.from_dict(content).to_dict() == content


def check_purchases(results):
    assert np.shape(results.accuracy_matrix) == np.shape(results.slice_sizes) == (3, 10)
    sizes = np.sum(results.slice_sizes, axis=1)
    assert sizes[0] == 40 and sizes[-1] == 64 and results.online_curve[-1][0] == sizes.sum()
    assert sum(results.spent) == 24
    content = json.loads(json.dumps(results.to_dict()))
    assert Results.from_dict(content).to_dict() == content


def check_method(trained):
    assert all(bool(torch.isfinite(weight).all()) for weight in trained.weights)
    assert torch.equal(trained.scores, trained.reloaded_scores)


@pytest.mark.parametrize(("setting", "method"), once(ALONE, "class_incremental"))
def test_one_worker(setting, method):
    trained = train_pair(setting, method)
    check_results(trained.results, setting, method)
    check_method(trained)


@pytest.mark.parametrize(("setting", "method"), once(TOGETHER, "distributed_class_incremental"))
@pytest.mark.few(16)
def test_two_workers(two_workers, setting, method):
    first, second = two_workers.run(train_pair, setting, method)
    check_results(first.results, setting, method)
    assert comparable(first.results) == comparable(second.results)
    assert math.isfinite(first.results.objective)
    for trained in (first, second):
        check_method(trained)
    for mine, others in zip(first.weights, second.weights, strict=True):
        assert torch.equal(mine, others), "the workers' networks have drifted apart"
