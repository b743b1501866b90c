"""The stream is sharded over data-parallel workers; together they produce one result."""

from redwood.settings.assumptions import Range
from redwood.settings.base import Setting
from redwood.settings.incremental import ClassIncrementalSetting, DomainIncrementalSetting, TaskIncrementalSetting
from redwood.settings.online import OnlineClassIncrementalSetting
from redwood.settings.stationary import TraditionalSetting


class Distributed(Setting, workers=Range(2)):
    """Mixin that asks for at least two workers, each with its own shard."""


class DistributedClassIncrementalSetting(Distributed, ClassIncrementalSetting):
    """Class-incremental learning over several workers."""


class DistributedDomainIncrementalSetting(DomainIncrementalSetting, DistributedClassIncrementalSetting):
    """Domain-incremental learning over several workers."""


class DistributedTaskIncrementalSetting(TaskIncrementalSetting, DistributedClassIncrementalSetting):
    """Task-incremental learning over several workers."""


class DistributedTraditionalSetting(TraditionalSetting, DistributedClassIncrementalSetting):
    """Ordinary supervised learning over several workers."""


class DistributedOnlineClassIncrementalSetting(DistributedClassIncrementalSetting, OnlineClassIncrementalSetting):
    """Class-incremental learning in one pass, over several workers."""
