import pickle

import pytest

from redwood.core.errors import InvalidOptionError
from redwood.settings.rl.tree import (
    DistributedIncrementalRLSetting,
    DistributedTaskIncrementalRLSetting,
    DistributedTraditionalRLSetting,
)
from tests.settings.rl import test_incremental, test_stationary
from tests.settings.rl.clock import clock


class TestDistributedIncrementalRL(test_incremental.TestIncrementalRL):
    setting = DistributedIncrementalRLSetting
    workers = 2

    def test_workers_have_environments_of_their_own(self, logs):
        first, second = ([fitted.starts for fitted in log.fitted] for log in logs)
        assert all(a != b for a, b in zip(first, second, strict=True))


class TestDistributedTaskIncrementalRL(TestDistributedIncrementalRL):
    setting = DistributedTaskIncrementalRLSetting
    ids_at_test = True


class TestDistributedTraditionalRL(TestDistributedIncrementalRL):
    setting = DistributedTraditionalRLSetting
    phases = 1
    announced_task = test_stationary.TestTraditionalRL.announced_task
    check_gains = test_stationary.TestTraditionalRL.check_gains


def test_a_setting_that_was_looked_at_can_be_sent_to_other_processes():
    setting = DistributedIncrementalRLSetting(env="CartPole-v1", steps_per_task=20)
    assert setting.num_tasks == 3 and len(list(setting.phases())) == 3
    sent = pickle.loads(pickle.dumps(setting))
    assert sent.num_tasks == 3 and sent.observation_space == setting.observation_space
    assert sent._made[1] == setting._made[1]


def test_budgets_have_to_be_shared_out_evenly():
    with pytest.raises(InvalidOptionError, match="--steps_per_task 21 cannot be shared out evenly to --workers 2"):
        clock(DistributedIncrementalRLSetting, steps_per_task=21)
