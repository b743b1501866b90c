"""The limit in which nothing changes: ordinary supervised learning, scored per task."""

from redwood.settings.assumptions import Context
from redwood.settings.incremental import ClassIncrementalSetting, TaskIncrementalSetting


class TraditionalSetting(ClassIncrementalSetting, context=Context.STATIONARY):
    """All tasks shuffled into one phase of independent, identically distributed samples."""


class MultiTaskSetting(TaskIncrementalSetting, TraditionalSetting):
    """All tasks shuffled into one phase; the task id of each sample is given in training and at test."""
