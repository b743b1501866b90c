"""The nodes of the supervised branch of the tree: each class names the assumptions that it adds."""

from dataclasses import dataclass
from typing import Any, ClassVar

from typing_extensions import override

from redwood.core.checks import check_range
from redwood.settings.assumptions import Context, Range, TaskIds
from redwood.settings.base import Setting
from redwood.settings.streams.sharded_stream import ShardedStream, concentration_of
from redwood.settings.streams.supervised_stream import SupervisedStream
from redwood.settings.supervised import SupervisedSetting


class ContinualSetting(SupervisedSetting):
    """A stream of labelled data whose distribution may drift continuously; nothing is announced."""


@dataclass
class TaskAgnosticSetting(ContinualSetting, context=Context.DISCRETE):
    """The stream switches between discrete tasks, but does not announce when or to which."""

    transition: Any = "abrupt"  # how one task follows another


class ClassIncrementalSetting(TaskAgnosticSetting, boundaries=True, task_ids=TaskIds.TRAINING):
    """One phase per task, task ids in training only; the classes accumulate."""


class DomainIncrementalSetting(ClassIncrementalSetting, shared_outputs=True):
    """All tasks share one output space. Only the inputs change."""


class TaskIncrementalSetting(ClassIncrementalSetting, task_ids=TaskIds.TEST):
    """The task id is given at test too, so only the classes of one task compete."""


class CumulativeSetting(ClassIncrementalSetting, past_accessible=True):
    """Each phase holds the data of all tasks so far: the setting of the upper bound."""


class CumulativeTaskIncrementalSetting(TaskIncrementalSetting, CumulativeSetting):
    """Each phase holds the data of all tasks so far, and the task id is given at test too."""


class CumulativeDomainIncrementalSetting(DomainIncrementalSetting, CumulativeSetting):
    """Each phase holds the data of all tasks so far, and all tasks share one output space."""


class TraditionalSetting(ClassIncrementalSetting, context=Context.STATIONARY):
    """All tasks shuffled into one phase of independent, identically distributed samples."""


class MultiTaskSetting(TaskIncrementalSetting, TraditionalSetting):
    """All tasks shuffled into one phase; the task id of each sample is given in training and at test."""


class Online(Setting, passes=Range(1, 1)):
    """Mixin that sets `passes` to 1."""


@dataclass
class OnlineClassIncrementalSetting(Online, ClassIncrementalSetting):
    """Class-incremental learning in one pass."""

    label_delay: int = 0  # mini-batches between the samples and their labels

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "label_delay", 0)

    @property
    @override
    def delay(self) -> int:
        return self.label_delay


class OnlineDomainIncrementalSetting(DomainIncrementalSetting, OnlineClassIncrementalSetting):
    """Domain-incremental learning in one pass."""


class OnlineTaskIncrementalSetting(TaskIncrementalSetting, OnlineClassIncrementalSetting):
    """Task-incremental learning in one pass."""


class OnlineTraditionalSetting(TraditionalSetting, OnlineClassIncrementalSetting):
    """Ordinary supervised learning in one pass."""


class Distributed(Setting, workers=Range(2)):
    """Mixin that needs at least two workers, each with its own shard."""


@dataclass
class DistributedClassIncrementalSetting(Distributed, ClassIncrementalSetting):
    """Class-incremental learning over several workers."""

    stream_type: ClassVar[type[SupervisedStream]] = ShardedStream

    # even: shards are drawn anew in each pass; dirichlet:ALPHA: the smaller ALPHA, the fewer classes a worker has
    shard: str = "even"

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        concentration_of(self.shard)


class DistributedDomainIncrementalSetting(DomainIncrementalSetting, DistributedClassIncrementalSetting):
    """Domain-incremental learning over several workers."""


class DistributedTaskIncrementalSetting(TaskIncrementalSetting, DistributedClassIncrementalSetting):
    """Task-incremental learning over several workers."""


class DistributedTraditionalSetting(TraditionalSetting, DistributedClassIncrementalSetting):
    """Ordinary supervised learning over several workers."""


@dataclass
class DistributedOnlineClassIncrementalSetting(DistributedClassIncrementalSetting, OnlineClassIncrementalSetting):
    """Class-incremental learning in one pass, over several workers."""
