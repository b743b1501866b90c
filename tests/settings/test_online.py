from redwood.settings.tree import (
    OnlineClassIncrementalSetting,
    OnlineDomainIncrementalSetting,
    OnlineTaskIncrementalSetting,
    OnlineTraditionalSetting,
)
from tests.settings import test_incremental, test_stationary


class TestOnlineClassIncremental(test_incremental.TestClassIncremental):
    setting = OnlineClassIncrementalSetting
    passes = 1


class TestOnlineDomainIncremental(test_incremental.TestDomainIncremental):
    setting = OnlineDomainIncrementalSetting
    passes = 1


class TestOnlineTaskIncremental(test_incremental.TestTaskIncremental):
    setting = OnlineTaskIncrementalSetting
    passes = 1


class TestOnlineTraditional(test_stationary.TestTraditional):
    setting = OnlineTraditionalSetting
    passes = 1
