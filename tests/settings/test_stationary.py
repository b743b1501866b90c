from redwood.settings.tree import MultiTaskSetting, TraditionalSetting
from tests.settings import test_incremental
from tests.settings.test_continual import N_TASKS


class AllTasksAtOnce:
    """One phase of shuffled tasks, which is none of them in particular."""

    phases = 1

    def tasks_of_phase(self, index):
        return set(range(N_TASKS))

    def announced_task(self, index):
        return None

    def check_order(self, tasks):
        n = len(tasks) // 2
        shares = [[part.count(task) / n for task in range(N_TASKS)] for part in (tasks[:n], tasks[n:])]
        assert all(0.15 < share < 0.55 for part in shares for share in part)


class TestTraditional(AllTasksAtOnce, test_incremental.TestClassIncremental):
    setting = TraditionalSetting


class TestMultiTask(AllTasksAtOnce, test_incremental.TestTaskIncremental):
    setting = MultiTaskSetting
