"""The training of one expert of a mixture, apart from all others: its samples, its steps and its result."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from redwood.core.errors import DataError
from redwood.core.seeding import generator
from redwood.core.state import State
from redwood.settings.batch import Batch
from redwood.settings.streams.order import batch_cuts
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting


@dataclass(frozen=True)
class Shard:
    """Samples of one phase.

    Attributes:
        x: Samples (n, ...) in their storage dtype, on the CPU.
        y: Labels (n,).
        task_id: Task of each sample (n,), or None where ids are hidden.
    """

    x: Tensor
    y: Tensor
    task_id: Tensor | None

    def __len__(self) -> int:
        """Number of samples n."""
        return len(self.y)

    def __getitem__(self, rows: Tensor) -> "Shard":
        """The samples of some rows: numbers, or true and false (n,)."""
        return Shard(self.x[rows], self.y[rows], None if self.task_id is None else self.task_id[rows])

    @property
    def nbytes(self) -> int:
        """Bytes of all samples."""
        return sum(leaf.nbytes for leaf in (self.x, self.y, self.task_id) if leaf is not None)

    def classes_by_task(self) -> dict[int, tuple[int, ...]] | None:
        """The labels that each task shows, or None where ids are hidden."""
        if self.task_id is None:
            return None
        return {task: tuple(self.y[self.task_id == task].unique().tolist()) for task in self.task_id.unique().tolist()}


def checked_shard(x: Tensor, y: Tensor, task_id: Tensor | None, shape: tuple[int, ...], n_outputs: int) -> Shard:
    """Samples that a user gives, on the CPU.

    Args:
        x: Samples (n, ...).
        y: Labels (n,).
        task_id: Task of each sample (n,), if they are told.
        shape: The shape of one sample.
        n_outputs: Number of classes.

    Raises:
        DataError: If they are none, or of another form.
    """
    if x.shape[1:] != shape or y.shape != x.shape[:1] or not len(y):
        raise DataError(
            f"Samples {tuple(x.shape)} and labels {tuple(y.shape)} do not fit; give samples (n, *{shape}), n > 0, "
            "and a label of each."
        )
    if y.is_floating_point() or not 0 <= int(y.min()) <= int(y.max()) < n_outputs:
        raise DataError(f"Labels have to be whole numbers from 0 to {n_outputs - 1}; map them to these.")
    if task_id is not None and task_id.shape != y.shape:
        raise DataError(f"The tasks {tuple(task_id.shape)} do not fit the labels; give one of each sample.")
    return Shard(x.cpu(), y.cpu(), None if task_id is None else task_id.cpu())


class ShardLoader:
    """Yields some of the batches that several passes over a shard consist of; each pass is shuffled anew.

    Attributes:
        epochs: How often to iterate: once.
        passes: Passes over the shard that the batches make.
        first_pass: Always False: the stream has shown and scored these samples before.
        unlabelled: Always None: all samples of a shard have labels.
        batch_id: None: no setting has handed these batches out.
    """

    epochs = 1
    first_pass = False
    unlabelled: Tensor | None = None
    batch_id = None

    def __init__(self, shard: Shard, batch_size: int, steps: range, seed: int) -> None:
        """Yield the batches with the numbers `steps`, counted over all passes."""
        self._shard, self._batch_size, self._steps, self._seed = shard, batch_size, steps, seed
        self.passes = len(steps) / steps_of(len(shard), batch_size, passes=1)

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._steps)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        n = len(self._shard)
        spans = list(pairwise(batch_cuts(n, self._batch_size, workers=1).tolist()))
        order, order_of = torch.empty(0), -1
        for step in self._steps:
            done, number = divmod(step, len(spans))
            if done != order_of:
                order, order_of = torch.randperm(n, generator=generator(self._seed, "pass", done)), done
            batch = self._shard[order[slice(*spans[number])]]
            yield Batch(batch.x, batch.y, batch.task_id)


def steps_of(n_samples: int, batch_size: int, passes: int) -> int:
    """Training steps of so many passes over a shard."""
    return (len(batch_cuts(n_samples, batch_size, workers=1)) - 1) * passes


class ShardPhase(Phase):
    """The training data of an expert, in the place of a phase of the stream."""

    def __init__(self, train: ShardLoader, task_classes: Mapping[int, tuple[int, ...]] | None) -> None:
        self.index, self.task_id, self.task_classes = 0, None, task_classes
        self.train, self.validation = train, None  # type: ignore[assignment]
        self.asks = False

    def score(self, predictions: Tensor, batch: Batch) -> None:
        """Count nothing: the mixture has been scored on these samples before."""

    def state_dict(self) -> State:
        """Nothing: no checkpoint is written while an expert is trained."""
        return {}


@dataclass(frozen=True)
class Lesson:
    """The samples and the steps of one expert in one part of its training.

    Attributes:
        network: The expert, on the CPU.
        shard: Its samples; at least one.
        steps: Numbers of its training steps, counted over all parts.
        seed: Seed of its order of samples, and of all else that it draws.
        optimizer: State of its optimizer after the part before, if there was one.
    """

    network: nn.Module
    shard: Shard
    steps: range
    seed: int
    optimizer: State | None = None


@dataclass(frozen=True)
class Learned:
    """The result of training an expert.

    Attributes:
        weights: State of its network.
        flops: FLOPs of each use: its training, and the count of its errors (selection).
        n_wrong: Number of its own samples that it classifies wrongly afterwards; 0 if no part follows.
        optimizer: State of its optimizer; None if no part follows.
    """

    weights: dict[str, Tensor]
    flops: dict[str, float]
    n_wrong: int
    optimizer: State | None


@dataclass(frozen=True)
class Course:
    """The data that all lessons of one part of the training share.

    Attributes:
        setting: The setting, as a method may see it.
        options: Options of `LightningMethod`, except the network.
        run: Options of the run.
        task_classes: Labels of each task, or None where ids are hidden in training.
        heads: State of the mixture's heads.
        part: Number of this part of the training, from 0, and of all parts. A learning-rate schedule extends over all.
    """

    setting: SupervisedSetting
    options: dict[str, Any]
    run: dict[str, Any]
    task_classes: Mapping[int, tuple[int, ...]] | None
    heads: State
    part: tuple[int, int]
