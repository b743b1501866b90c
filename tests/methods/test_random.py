import math
from types import SimpleNamespace

import pytest
import torch
from gymnasium.spaces import Discrete

from redwood.methods.baselines import Random
from redwood.settings.tree import TraditionalSetting
from tests.samples import numbered
from tests.small_runs import run_here, small_setting


def test_it_is_at_chance():
    # 6,000 guesses among 6 classes: 1,000 are right, with standard deviation 28.9; 3.3 of them hold 99.9 % of cases.
    data = numbered(n_test=6_000)
    matrix = run_here(TraditionalSetting(dataset=data, nb_tasks=3, passes=1), Random()).accuracy_matrix
    hits = sum(matrix[0]) * 2_000
    assert abs(hits - 1_000) < 3.3 * math.sqrt(6_000 * 1 / 6 * 5 / 6)


def test_all_classes_are_alike_likely():
    method = Random()
    method.configure(small_setting("class_incremental"))
    torch.manual_seed(0)
    counts = torch.bincount(method.predict(torch.zeros(10_000, 1), None), minlength=10)
    statistic = float(((counts - 1_000) ** 2 / 1_000).sum())
    assert statistic < 27.9  # 99.9 % of chi-squared with 9 degrees of freedom


def test_choices_may_start_anywhere():
    method, actions = Random(), Discrete(3, start=-1)
    method.configure(SimpleNamespace(action_space=actions))
    assert method.predict(torch.zeros(100, 1), None).unique().tolist() == [-1, 0, 1]


def test_guessing_is_scored_online():
    results = run_here(small_setting("online_class_incremental"), Random())
    assert results.online_curve[-1][0] == 160
    assert 0.03 < results.metrics["online_accuracy"] < 0.2


@pytest.mark.parametrize("key", ["continual", "distributed_class_incremental"])
def test_it_needs_no_promise(key):
    small_setting(key).check_applicable(Random())
