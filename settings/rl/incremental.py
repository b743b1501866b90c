"""Environments arrive one after the other and are announced."""

from redwood.settings.assumptions import TaskIds
from redwood.settings.rl.continual import TaskAgnosticRLSetting


class IncrementalRLSetting(TaskAgnosticRLSetting, boundaries=True, task_ids=TaskIds.TRAINING):
    """One phase per task, task ids in training only; all tasks share their observations and actions."""


class TaskIncrementalRLSetting(IncrementalRLSetting, task_ids=TaskIds.TEST):
    """The task id is given at test, too."""
