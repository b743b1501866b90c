"""The reinforcement branch of the tree: each node is a class that names the assumptions it adds."""

from redwood.settings.assumptions import Context, TaskIds
from redwood.settings.rl.setting import ReinforcementSetting
from redwood.settings.tree import Distributed


class ContinualRLSetting(ReinforcementSetting):
    """An environment whose physics may drift at every step; nothing is announced."""


class TaskAgnosticRLSetting(ContinualRLSetting, context=Context.DISCRETE):
    """The environment switches between discrete tasks, without saying when or to which."""


class IncrementalRLSetting(TaskAgnosticRLSetting, boundaries=True, task_ids=TaskIds.TRAINING):
    """One phase per task, task ids in training only; all tasks share their observations and actions."""


class TaskIncrementalRLSetting(IncrementalRLSetting, task_ids=TaskIds.TEST):
    """The task id is given at test, too."""


class TraditionalRLSetting(IncrementalRLSetting, context=Context.STATIONARY):
    """All tasks in one phase: each episode is of a task drawn at random."""


class MultiTaskRLSetting(TaskIncrementalRLSetting, TraditionalRLSetting):
    """All tasks in one phase; the task id of each episode is given in training and at test."""


class DistributedIncrementalRLSetting(Distributed, IncrementalRLSetting):
    """Environments one after the other, over several workers."""


class DistributedTaskIncrementalRLSetting(TaskIncrementalRLSetting, DistributedIncrementalRLSetting):
    """Environments one after the other with task ids at test, over several workers."""


class DistributedTraditionalRLSetting(TraditionalRLSetting, DistributedIncrementalRLSetting):
    """All tasks in one phase, over several workers."""
