"""Supervised streams seen as environments."""

import numpy as np
import pytest
import torch

from redwood.methods.baselines import Random
from redwood.settings.rl.bridge import makers_of
from redwood.settings.rl.tree import (
    ContinualRLSetting,
    IncrementalRLSetting,
    MultiTaskRLSetting,
    TaskAgnosticRLSetting,
    TaskIncrementalRLSetting,
)
from redwood.settings.tree import ClassIncrementalSetting, TaskIncrementalSetting
from tests.samples import few_digits, numbered
from tests.small_runs import FixedRule

N_TASKS = 3


def supervised(setting=ClassIncrementalSetting, **options):
    return setting(**{"dataset": few_digits(), "nb_tasks": N_TASKS} | options)


class TestEnvironment:
    def test_every_sample_is_shown_once_before_any_is_shown_again(self):
        setting = supervised(dataset=numbered())
        (maker, *_) = makers_of(setting)
        env = maker.make()
        phase = next(setting.phases())
        rows = sorted(int(row) for batch in phase.train for row in batch.x[:, 0])
        shown = [int(env.reset(seed=n)[0][0]) for n in range(2 * len(rows))]
        assert sorted(shown[: len(rows)]) == rows == sorted(shown[len(rows) :])
        assert shown[: len(rows)] != shown[len(rows) :]

    def test_the_reward_is_one_for_the_right_class(self):
        env, data = makers_of(supervised())[0].make(), few_digits()
        for n in range(40):
            observation, _ = env.reset()
            assert env.observation_space.contains(observation)
            (label,) = {int(y) for x, y in zip(data.x, data.y, strict=True) if np.array_equal(x, observation)}
            wrong = (label + 1 + n % 9) % 10
            assert env.step(label)[1:4] == (1.0, True, False)
            assert env.step(wrong)[1:4] == (0.0, True, False)


@pytest.mark.parametrize(
    ("setting", "phases"),
    [(ContinualRLSetting, 1), (TaskAgnosticRLSetting, 1), (IncrementalRLSetting, 3), (MultiTaskRLSetting, 1)],
)
def test_a_fixed_rule_is_scored_alike_on_both_views(setting, phases):
    data = supervised()
    view = setting(env=data, steps_per_task=60).apply(FixedRule(), quiet=True)
    accuracies = data.apply(FixedRule(), quiet=True).accuracy_matrix
    assert len(view.return_matrix) == phases
    for row in view.return_matrix:
        assert row == pytest.approx(accuracies[-1])


def test_guessing_gets_the_same_on_both_views():
    data = supervised()
    returns = np.array(IncrementalRLSetting(env=data, steps_per_task=3000).apply(Random(), quiet=True).return_matrix)
    accuracies = np.array(data.apply(Random(), quiet=True).accuracy_matrix)
    n = 3 * len(few_digits().y_test)
    for mean in (returns.mean(), accuracies.mean()):
        assert abs(mean - 0.1) < 3.5 * np.sqrt(0.09 / n)
    online = IncrementalRLSetting(env=data, steps_per_task=3000).apply(Random(), quiet=True).metrics["online_return"]
    assert abs(online - 0.1) < 3.5 * np.sqrt(0.09 / 9000)


def test_by_name_from_the_command_line():
    setting = TaskIncrementalRLSetting(env="supervised:digits", nb_tasks=5, seed=2)
    assert setting.num_tasks == 5
    assert setting.action_space == TaskIncrementalSetting(dataset="digits", nb_tasks=5, seed=2).action_space
    assert setting.dataset_name == "supervised:digits"
    assert torch.is_tensor(torch.as_tensor(next(setting.phases()).train.reset()[0]))
