import numpy as np
import pytest

from redwood.settings.rl.tree import IncrementalRLSetting, TaskIncrementalRLSetting
from tests.settings.rl import test_continual
from tests.settings.rl.clock import N_TASKS, clock, record
from tests.settings.rl.test_continual import GAINS


class TestIncrementalRL(test_continual.TestTaskAgnosticRL):
    setting = IncrementalRLSetting
    boundaries = True
    ids_in_training = True
    phases = N_TASKS

    def announced_task(self, index):
        return index

    def check_gains(self, index, gains):
        assert set(gains) == {GAINS[index]}


class TestTaskIncrementalRL(TestIncrementalRL):
    setting = TaskIncrementalRLSetting
    ids_at_test = True


def test_tasks_given_by_hand():
    setting = clock(IncrementalRLSetting, attributes=[], nb_tasks=None, tasks=["default", "gain=7", "bias=3,gain=-1"])
    results, log = record(setting)
    assert [set(fitted.gains) for fitted in log.fitted] == [{2.0}, {7.0}, {-1.0}]
    assert np.array(results.return_matrix[0]) / 7 == pytest.approx([2, 7, -1])
