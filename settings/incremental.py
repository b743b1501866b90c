"""Tasks arrive one after the other and are announced; the three scenarios of van de Ven & Tolias (2019)."""

from redwood.settings.assumptions import TaskIds
from redwood.settings.continual import TaskAgnosticSetting


class ClassIncrementalSetting(TaskAgnosticSetting, boundaries=True, task_ids=TaskIds.TRAINING):
    """One phase per task, task ids in training only; the classes accumulate."""


class DomainIncrementalSetting(ClassIncrementalSetting, shared_outputs=True):
    """All tasks share one output space: what changes is the domain of the inputs."""


class TaskIncrementalSetting(ClassIncrementalSetting, task_ids=TaskIds.TEST):
    """The task id is given at test, too, so that only the classes of one task compete."""


class CumulativeSetting(ClassIncrementalSetting, past_accessible=True):
    """Each phase holds the data of all tasks so far: home of the upper bound, training from scratch."""
