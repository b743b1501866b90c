"""The nodes of the supervised branch of the tree: each class names the assumptions that it adds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.settings.assumptions import Context, Range, TaskIds
from redwood.settings.base import Setting
from redwood.settings.requested_stream import RequestedStream
from redwood.settings.sharded_stream import ShardedStream, concentration_of
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.supervised_stream import SupervisedStream


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


class TraditionalSetting(ClassIncrementalSetting, context=Context.STATIONARY):
    """All tasks shuffled into one phase of independent, identically distributed samples."""


class MultiTaskSetting(TaskIncrementalSetting, TraditionalSetting):
    """All tasks shuffled into one phase; the task id of each sample is given in training and at test."""


class Online(Setting, passes=Range(1, 1)):
    """Mixin that sets `passes` to 1."""


@dataclass
class OnlineClassIncrementalSetting(Online, ClassIncrementalSetting):
    """Class-incremental learning in one pass."""

    label_delay: int = 0  # the labels of a mini-batch come so many mini-batches after its samples

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


@dataclass
class LabelBudgetSetting(
    OnlineClassIncrementalSetting, predict_first=True, labels_on_request=True, workers=Range(1, 1)
):
    """Class-incremental learning in one pass, in which a method may ask for a share of the labels of each phase."""

    stream_type: ClassVar[type[SupervisedStream]] = RequestedStream
    unused_options: ClassVar[Mapping[str, str]] = {
        "validation": "whose --label_budget does not count the labels of held-out samples"
    }

    batch_size: int = 4  # labels per mini-batch: the fewer, the more often labels are asked for
    label_budget: float = 0.1  # share of the labels of each phase that a method may ask for

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.label_budget <= 1:
            raise InvalidOptionError(f"--label_budget {self.label_budget} has to be greater than 0 and at most 1.")


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
