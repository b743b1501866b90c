"""The promises of a setting to a method: a record that only grows from parent to child."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from functools import reduce
from typing import Any, NoReturn


class Context(IntEnum):
    """The kind of change of the data distribution. Each value promises more than the value before."""

    CONTINUOUS = 0
    DISCRETE = 1
    STATIONARY = 2


class TaskIds(IntEnum):
    """The times at which a method gets task ids. Each value promises more than the value before."""

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
        """True if `other` lies inside this range, so promises at least as much."""
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


@dataclass(frozen=True, eq=False)
class Assumption:
    """A promise that the file of a setting declares: `noisy_labels = Assumption("labels are wrong at times")`.

    A class of this file then makes it, `class Noisy(Parent, noisy_labels=True)`, and its children inherit it. A method
    or a stream asks whether `"noisy_labels" in setting.assumptions`.

    Attributes:
        text: The promise in words, for lists and pages.
    """

    text: str


@dataclass(frozen=True, repr=False)
class Assumptions:
    """The promises of one node of the tree. `a <= b` means that `b` makes all promises of `a`.

    Attributes:
        labels: Samples come with labels to learn from (the supervised half of the tree).
        rewards: An environment answers actions with rewards (the reinforcement half of the tree).
        context: How the data distribution changes.
        boundaries: The method is told when a task starts and ends, and gets one phase per task.
        task_ids: When task ids are shown.
        shared_outputs: All tasks use one output space.
        past_accessible: Data of earlier tasks stays in the training stream.
        predict_first: The setting asks for predictions of a mini-batch before it hands out the labels.
        passes: How often each sample may be presented.
        workers: How many processes share the stream.
        declared: Promises that files of settings have declared, by name.
    """

    labels: bool = False
    rewards: bool = False
    context: Context = Context.CONTINUOUS
    boundaries: bool = False
    task_ids: TaskIds = TaskIds.NEVER
    shared_outputs: bool = False
    past_accessible: bool = False
    predict_first: bool = False
    passes: Range = FREE
    workers: Range = FREE
    declared: Mapping[str, Assumption] = field(default_factory=dict, hash=False)

    def __repr__(self) -> str:
        return f"<Assumptions: {', '.join(self.promises()) or 'none'}>"

    def __contains__(self, promise: str) -> bool:
        """True if a promise is made, by the name that `promises` gives it."""
        return promise in self.promises()

    def __le__(self, other: "Assumptions") -> bool:
        """True if `other` makes every promise of this record."""
        weaker = all(getattr(self, name) <= getattr(other, name) for name in OF_THE_TRUNK)
        return weaker and self.declared.items() <= other.declared.items()

    def __or__(self, other: "Assumptions") -> "Assumptions":
        """The smallest record that makes the promises of both.

        Raises:
            TypeError: If both make a promise of one name, which two files have declared.
        """
        merged: dict[str, Any] = {}
        for name in OF_THE_TRUNK:
            mine, theirs = getattr(self, name), getattr(other, name)
            merged[name] = mine | theirs if isinstance(mine, Range) else max(mine, theirs)
        for name in self.declared.keys() & other.declared.keys():
            if self.declared[name] is not other.declared[name]:
                raise TypeError(f"two files declare an assumption named {name}; rename one of them.")
        return Assumptions(**merged, declared={**self.declared, **other.declared})

    def promises(self) -> tuple[str, ...]:
        """The promises by name, in the order of the fields; declared ones last."""
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
            "predict_first": self.predict_first,
            f"passes{self.passes}": self.passes != FREE,
            f"workers{self.workers}": self.workers != FREE,
        }
        return (*(name for name, promised in named.items() if promised), *self.declared)


# Names that `promises` gives to fields of other names.
_PROMISES = {"discrete_contexts", "stationary", "task_boundaries", "task_ids_in_training", "task_ids_at_test"}
OF_THE_TRUNK = tuple(f.name for f in fields(Assumptions) if f.name != "declared")


def merge_assumptions(
    class_name: str, module: str, inherited: list[Assumptions], added: Mapping[str, Any]
) -> Assumptions:
    """The record of a node: the joined promises of its parents, and the added ones.

    Args:
        class_name: The node, for error messages.
        module: Name of the module in which the node stands, which declares assumptions of its own.
        inherited: The records of its bases.
        added: The promises that the node adds: fields of `Assumptions`, or declared ones as True. A number stands for
            the range that holds this number alone.

    Raises:
        TypeError: If a promise does not exist, takes back a promise of a parent, or contradicts another.
    """
    try:
        base = reduce(Assumptions.__or__, inherited, Assumptions())
    except TypeError as error:
        raise TypeError(f"{class_name}: {error}") from None
    fixed = {name: value for name, value in added.items() if name in OF_THE_TRUNK}
    for name, value in fixed.items():
        if isinstance(getattr(base, name), Range) and isinstance(value, bool):
            raise TypeError(f"{class_name}: {name}={value} is no number and no range; write {name}=2, or Range(2).")
        if isinstance(getattr(base, name), Range) and isinstance(value, int):
            fixed[name] = Range(value, value)
    own = replace(base, **fixed)
    for name in fixed:
        if not getattr(base, name) <= getattr(own, name):
            _refuse_taking_back(class_name, name, getattr(own, name), getattr(base, name))
    _refuse_contradictions(class_name, own)
    further = {name: value for name, value in added.items() if name not in OF_THE_TRUNK}
    return replace(own, declared=_with_declared(class_name, module, base.declared, further))


def _with_declared(
    class_name: str, module: str, inherited: Mapping[str, Assumption], added: Mapping[str, object]
) -> dict[str, Assumption]:
    """The declared promises of a node: the inherited ones, and those that its file declares."""
    found = dict(inherited)
    names = vars(sys.modules[module]) if module in sys.modules else {}
    for name, value in added.items():
        declared = found.get(name, names.get(name))
        if isinstance(names.get(name), Assumption) and names[name] is not declared:
            raise TypeError(f"{class_name}: two files declare an assumption named {name}; rename one of them.")
        if not isinstance(declared, Assumption):
            raise TypeError(
                f"{class_name}: there is no assumption named {name}; declare it above the class, as in "
                f'{name} = Assumption("what is promised").'
            )
        if name in _PROMISES:
            raise TypeError(f"{class_name}: {name} is a promise of redwood's own; give the declared one another name.")
        if value is not True and name in inherited:
            _refuse_taking_back(class_name, name, value, True)
        if value is not True:
            raise TypeError(f"{class_name}: {name}={value} promises nothing; write {name}=True, or leave it out.")
        found[name] = declared
    return found


def _refuse_taking_back(class_name: str, name: str, value: object, inherited: object) -> NoReturn:
    raise TypeError(
        f"{class_name}: {name}={value} takes back the inherited {inherited}; a child setting can only add assumptions."
    )


def _refuse_contradictions(class_name: str, record: Assumptions) -> None:
    contradictions = {
        "labels and rewards are two halves of the tree": record.labels and record.rewards,
        "a context that drifts continuously has no boundaries to announce": record.boundaries
        and record.context < Context.DISCRETE,
        "task ids in training announce the boundaries": record.task_ids > TaskIds.NEVER and not record.boundaries,
        "samples that are predicted before their labels come are new, so each is presented once": record.predict_first
        and record.passes.high != 1,
    }
    for name in ("passes", "workers"):
        allowed: Range = getattr(record, name)
        empty = allowed.high is not None and allowed.low > allowed.high
        contradictions[f"no number of {name} is at least {allowed.low} and at most {allowed.high}"] = empty
    for reason, contradicted in contradictions.items():
        if contradicted:
            raise TypeError(f"{class_name} contradicts itself: {reason}.")
