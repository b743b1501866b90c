"""Several workers with environments of their own share the budget; together they produce one result."""

from redwood.settings.distributed import Distributed
from redwood.settings.rl.incremental import IncrementalRLSetting, TaskIncrementalRLSetting
from redwood.settings.rl.stationary import TraditionalRLSetting


class DistributedIncrementalRLSetting(Distributed, IncrementalRLSetting):
    """Environments one after the other, over several workers."""


class DistributedTaskIncrementalRLSetting(TaskIncrementalRLSetting, DistributedIncrementalRLSetting):
    """Environments one after the other with task ids at test, over several workers."""


class DistributedTraditionalRLSetting(TraditionalRLSetting, DistributedIncrementalRLSetting):
    """All tasks in one phase, over several workers."""
