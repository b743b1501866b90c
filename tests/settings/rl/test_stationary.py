from collections import Counter
from itertools import pairwise

from redwood.settings.rl.tree import MultiTaskRLSetting, TraditionalRLSetting
from tests.settings.rl import test_incremental
from tests.settings.rl.clock import N_TASKS, clock
from tests.settings.rl.test_continual import GAINS


class TestTraditionalRL(test_incremental.TestIncrementalRL):
    setting = TraditionalRLSetting
    phases = 1

    def announced_task(self, index):
        return None

    def check_gains(self, index, gains):
        assert set(gains) <= set(GAINS)
        changes = sum(a != b for a, b in pairwise(gains))
        assert changes > 1, "tasks come in no order"


class TestMultiTaskRL(TestTraditionalRL):
    setting = MultiTaskRLSetting
    ids_at_test = True


def test_all_tasks_are_alike_likely():
    phase = next(clock(TraditionalRLSetting, steps_per_task=10_000).phases())
    env, counts = phase.train, Counter()
    for _ in range(3000):
        counts[env.reset()[1]["task_id"]] += 1
    # Chi-square with 2 degrees of freedom: above 13.8 with probability 1e-3.
    expected = 3000 / N_TASKS
    assert sum((counts[task] - expected) ** 2 / expected for task in range(N_TASKS)) < 13.8
