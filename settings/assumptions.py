"""The promises of a setting to a method: a record that only grows from parent to child."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from functools import reduce
from typing import Any


class Context(IntEnum):
    """How the distribution of the data changes. Each value promises more than the value before."""

    CONTINUOUS = 0
    DISCRETE = 1
    STATIONARY = 2


class TaskIds(IntEnum):
    """When the method is told the task of a sample. Each value promises more than the value before."""

    NEVER = 0
    TRAINING = 1
    TEST = 2


@dataclass(frozen=True)
class Range:
    """The allowed values of a free parameter, `low`..`high` inclusive (`high=None`: no limit)."""

    low: int = 1
    high: int | None = None

    def __contains__(self, value: int) -> bool:
        return value >= self.low and (self.high is None or value <= self.high)

    def __le__(self, other: "Range") -> bool:
        """Whether `other` lies inside this range, so promises at least as much."""
        return other.low >= self.low and (self.high is None or (other.high is not None and other.high <= self.high))

    def __or__(self, other: "Range") -> "Range":
        """The values that both ranges allow. The range may be empty (`low > high`)."""
        highs = [high for high in (self.high, other.high) if high is not None]
        return Range(max(self.low, other.low), min(highs, default=None))

    def __str__(self) -> str:
        if self.high == self.low:
            return f"={self.low}"
        return f">={self.low}" if self.high is None else f" in {self.low}..{self.high}"

    def clip(self, value: int) -> int:
        """The allowed value nearest to `value`."""
        value = max(value, self.low)
        return value if self.high is None else min(value, self.high)


FREE = Range()


@dataclass(frozen=True)
class Assumptions:
    """The promises of one node of the tree. `a <= b` means that `b` makes all promises of `a`.

    Attributes:
        labels: Samples come with labels to learn from (the supervised branch).
        rewards: An environment answers actions with rewards (the reinforcement branch).
        context: How the data distribution changes.
        boundaries: The method is told when a task starts and ends, and gets one phase per task.
        task_ids: When task ids are shown.
        shared_outputs: All tasks use one output space.
        past_accessible: Data of earlier tasks stays in the training stream.
        recurring: Contexts come back after others.
        locally_stationary: All samples of a mini-batch come from one context.
        buys_data: The method is asked after each phase which samples to buy for the next one.
        predict_first: The setting asks for predictions of a mini-batch before it hands out the labels.
        labels_on_request: The method chooses the samples that it gets labels of, and sees the others, too.
        passes: How often each sample may be presented.
        workers: How many processes share the stream.
        clients: How many parties hold the training samples, each its own; batches tell the client (`Batch.turn`).
    """

    labels: bool = False
    rewards: bool = False
    context: Context = Context.CONTINUOUS
    boundaries: bool = False
    task_ids: TaskIds = TaskIds.NEVER
    shared_outputs: bool = False
    past_accessible: bool = False
    recurring: bool = False
    locally_stationary: bool = False
    buys_data: bool = False
    predict_first: bool = False
    labels_on_request: bool = False
    passes: Range = FREE
    workers: Range = FREE
    clients: Range = FREE

    @property
    def phases_accumulate(self) -> bool:
        """Whether a phase holds the samples of the phases before, too."""
        return self.past_accessible or self.buys_data

    def __le__(self, other: "Assumptions") -> bool:
        """Whether `other` makes every promise of this record."""
        return all(getattr(self, f.name) <= getattr(other, f.name) for f in fields(self))

    def __or__(self, other: "Assumptions") -> "Assumptions":
        """The smallest record that makes the promises of both."""
        merged = {}
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            merged[f.name] = mine | theirs if isinstance(mine, Range) else max(mine, theirs)
        return Assumptions(**merged)

    def promises(self) -> tuple[str, ...]:
        """The promises by name, in the order of the fields."""
        named = {
            "labels": self.labels,
            "rewards": self.rewards,
            "discrete_contexts": self.context >= Context.DISCRETE,
            "stationary": self.context >= Context.STATIONARY,
            "task_boundaries": self.boundaries,
            "task_ids_in_training": self.task_ids >= TaskIds.TRAINING,
            "task_ids_at_test": self.task_ids >= TaskIds.TEST,
            "shared_outputs": self.shared_outputs,
            "past_accessible": self.past_accessible,
            "recurring": self.recurring,
            "locally_stationary": self.locally_stationary,
            "buys_data": self.buys_data,
            "predict_first": self.predict_first,
            "labels_on_request": self.labels_on_request,
            f"passes{self.passes}": self.passes != FREE,
            f"workers{self.workers}": self.workers != FREE,
            f"clients{self.clients}": self.clients != FREE,
        }
        return tuple(name for name, promised in named.items() if promised)


def merge_assumptions(class_name: str, inherited: list[Assumptions], added: Mapping[str, Any]) -> Assumptions:
    """The record of a node: the joined promises of its parents, and the added ones.

    Args:
        class_name: The node, for error messages.
        inherited: The records of its bases.
        added: Fields of `Assumptions` that the node sets.

    Raises:
        TypeError: If a promise does not exist, takes back a promise of a parent, or contradicts another.
    """
    unknown = added.keys() - {f.name for f in fields(Assumptions)}
    if unknown:
        raise TypeError(f"{class_name}: there is no assumption named {', '.join(sorted(unknown))}.")
    base = reduce(Assumptions.__or__, inherited, Assumptions())
    own = replace(base, **added)
    for name in added:
        if not getattr(base, name) <= getattr(own, name):
            raise TypeError(
                f"{class_name}: {name}={getattr(own, name)} takes back the inherited {getattr(base, name)}; "
                "a child setting can only add assumptions."
            )
    _refuse_contradictions(class_name, own)
    return own


def _refuse_contradictions(class_name: str, record: Assumptions) -> None:
    contradictions = {
        "labels and rewards are two branches of the tree": record.labels and record.rewards,
        "a context that drifts continuously has no boundaries to announce": record.boundaries
        and record.context < Context.DISCRETE,
        "task ids in training announce the boundaries": record.task_ids > TaskIds.NEVER and not record.boundaries,
        "samples that are predicted before their labels come are new, so each is presented once": record.predict_first
        and record.passes.high != 1,
    }
    for name in ("passes", "workers", "clients"):
        allowed: Range = getattr(record, name)
        empty = allowed.high is not None and allowed.low > allowed.high
        contradictions[f"no number of {name} is at least {allowed.low} and at most {allowed.high}"] = empty
    for reason, contradicted in contradictions.items():
        if contradicted:
            raise TypeError(f"{class_name} contradicts itself: {reason}.")
