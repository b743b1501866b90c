import pytest

from redwood.settings.tree import (
    DistributedClassIncrementalSetting,
    DistributedDomainIncrementalSetting,
    DistributedOnlineClassIncrementalSetting,
    DistributedTaskIncrementalSetting,
    DistributedTraditionalSetting,
)
from tests.settings import test_incremental, test_online, test_stationary


class Shards:
    """Two workers share what one worker gets elsewhere."""

    workers = 2

    def test_shards_are_equally_long(self, logs):
        for phase in zip(*(log.fitted for log in logs), strict=True):
            first, second = (sum(len(batch.y) for batch in fitted.batches()) for fitted in phase)
            assert abs(first - second) <= phase[0].steps
            assert phase[0].steps == phase[1].steps

    def test_test_samples_are_shared_out(self, logs):
        assert {len(x) for log in logs for x, _ in log.tested} == {18}


class TestDistributedClassIncremental(Shards, test_incremental.TestClassIncremental):
    setting = DistributedClassIncrementalSetting


class TestDistributedDomainIncremental(Shards, test_incremental.TestDomainIncremental):
    setting = DistributedDomainIncrementalSetting


class TestDistributedTaskIncremental(Shards, test_incremental.TestTaskIncremental):
    setting = DistributedTaskIncrementalSetting


class TestDistributedTraditional(Shards, test_stationary.TestTraditional):
    setting = DistributedTraditionalSetting


class TestDistributedOnlineClassIncremental(Shards, test_online.TestOnlineClassIncremental):
    setting = DistributedOnlineClassIncrementalSetting


@pytest.mark.parametrize("workers", [None, 2])
def test_two_workers_by_default(workers):
    assert DistributedClassIncrementalSetting(workers=workers).workers == 2
