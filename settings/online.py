"""One pass over the stream: each sample is seen once, and scored before it is learned from."""

from redwood.settings.assumptions import Range
from redwood.settings.base import Setting
from redwood.settings.incremental import ClassIncrementalSetting, DomainIncrementalSetting, TaskIncrementalSetting
from redwood.settings.stationary import TraditionalSetting


class Online(Setting, passes=Range(1, 1)):
    """Mixin that pins `passes` to 1."""


class OnlineClassIncrementalSetting(Online, ClassIncrementalSetting):
    """Class-incremental learning in one pass."""


class OnlineDomainIncrementalSetting(DomainIncrementalSetting, OnlineClassIncrementalSetting):
    """Domain-incremental learning in one pass."""


class OnlineTaskIncrementalSetting(TaskIncrementalSetting, OnlineClassIncrementalSetting):
    """Task-incremental learning in one pass."""


class OnlineTraditionalSetting(TraditionalSetting, OnlineClassIncrementalSetting):
    """Ordinary supervised learning in one pass."""
