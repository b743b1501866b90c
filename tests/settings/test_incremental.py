from redwood.settings.tree import (
    ClassIncrementalSetting,
    CumulativeSetting,
    DomainIncrementalSetting,
    TaskIncrementalSetting,
)
from tests.settings import test_continual
from tests.settings.test_continual import N_TASKS


class TestClassIncremental(test_continual.TestTaskAgnostic):
    setting = ClassIncrementalSetting
    boundaries = True
    ids_in_training = True
    phases = N_TASKS

    def tasks_of_phase(self, index):
        return {index}

    def announced_task(self, index):
        return index


class TestDomainIncremental(TestClassIncremental):
    setting = DomainIncrementalSetting
    shared_outputs = True


class TestTaskIncremental(TestClassIncremental):
    setting = TaskIncrementalSetting
    ids_at_test = True


class TestCumulative(TestClassIncremental):
    setting = CumulativeSetting

    def tasks_of_phase(self, index):
        return set(range(index + 1))

    def check_order(self, tasks):
        assert len(set(tasks)) == 1 or tasks != sorted(tasks)
