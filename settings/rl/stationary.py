"""The limit in which nothing changes: a task drawn for each episode, scored per task."""

from redwood.settings.assumptions import Context
from redwood.settings.rl.incremental import IncrementalRLSetting, TaskIncrementalRLSetting


class TraditionalRLSetting(IncrementalRLSetting, context=Context.STATIONARY):
    """All tasks in one phase: each episode is of a task drawn at random."""


class MultiTaskRLSetting(TaskIncrementalRLSetting, TraditionalRLSetting):
    """All tasks in one phase; the task id of each episode is given in training and at test."""
