"""Score a method on test or validation samples: each sample once, for the task that it belongs to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from gymnasium.spaces import Box
from torch import Tensor
from torch.nn import functional as F

from redwood.core.seeding import generator, preserved_random_state
from redwood.core.workers import gather_objects, rank, split_evenly, sum_over_workers, world_size
from redwood.settings.data.entries import Entries
from redwood.settings.scores.answers import Space, check_form, check_values
from redwood.settings.scores.slices import SliceScores, Slicing
from redwood.settings.scores.task_scores import Scores, nan_to_none

TEST_BATCH = 1024
TOP = 5  # top-5 accuracy is counted where there are more than twice as many classes, and more than that in a task


class Predictor(Protocol):
    """A method that is scored."""

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Return classes (B,), scores (B, K), label sets (B, L) or numbers for samples (B, ...)."""


class LabelledSamples(Protocol):
    """The samples that are predicted, and the labels that predictions are compared with."""

    def labels(self, entries: Entries) -> Tensor:
        """Labels (n,), label sets (n, L), or targets of the entries."""

    def batches(self, entries: Entries, size: int) -> Iterator[tuple[Entries, Tensor]]:
        """The entries in batches of `size`, each with its samples."""


@dataclass(frozen=True)
class Counts:
    """Sums over the samples of each group, over all workers.

    Attributes:
        samples: Number of samples (G,).
        totals: Right predictions (G,), or squared errors.
        top5: Samples whose class is among the five highest scores (G,); None where that is not counted.
        slices: Samples, right answers and losses of each slice (3, S); None where they are not counted.
    """

    samples: Tensor
    totals: Tensor
    top5: Tensor | None
    slices: Tensor | None = None


@dataclass(frozen=True)
class TaskEvaluation:
    """Scores a method that predicts classes or numbers.

    Attributes:
        space: The classes, or the numbers to predict.
        n_outputs: Number of classes, or of numbers to predict of each sample.
        n_tasks: Number of all tasks.
        slicing: The slices of the test samples; None where numbers are predicted.
        show_ids: Whether the method is told the task of each sample.
        own_classes: Classes of each task (n_tasks,) where the method is told it; else None.
    """

    space: Space
    n_outputs: int
    n_tasks: int
    slicing: Slicing | None
    show_ids: bool
    own_classes: Sequence[Sequence[int]] | None = None

    def by_task(self, method: Predictor, source: LabelledSamples, entries: Entries, tasks: range) -> Scores:
        """Accuracy or RMSE on each of the tasks, and of classes the scores on each slice.

        Where ids are shown, only the classes of the sample's task can be among its five best. In a task of up to five
        classes, any answer within the task would be right. Such tasks have no top-5 accuracy.
        """
        counts = self._count(method, source, entries, entries.tasks, self.n_tasks, self.slicing)
        part = slice(tasks.start, tasks.stop)
        means = (counts.totals / counts.samples)[part]
        if isinstance(self.space, Box):
            return Scores(nan_to_none(means.sqrt()))
        top5 = None if counts.top5 is None else self._top5(counts)[part]
        assert self.slicing is not None and counts.slices is not None
        top5 = None if top5 is None or all(share is None for share in top5) else top5
        return Scores(nan_to_none(means), top5, SliceScores.from_sums(self.slicing, counts.slices))

    def _top5(self, counts: Counts) -> list[float | None]:
        assert counts.top5 is not None
        shares = nan_to_none(counts.top5 / counts.samples)
        if self.own_classes is None:
            return shares
        return [None if len(own) <= TOP else share for own, share in zip(self.own_classes, shares, strict=True)]

    def _is_own(self) -> Tensor | None:
        """Return a mask (T, K) of the classes of each task; None if ids are hidden or all tasks have few classes."""
        if self.own_classes is None or not any(len(own) > TOP for own in self.own_classes):
            return None
        is_own = torch.zeros(self.n_tasks, self.n_outputs, dtype=torch.bool)
        for task, own in enumerate(self.own_classes):
            is_own[task, list(own)] = True
        return is_own

    def by_part(
        self, method: Predictor, source: LabelledSamples, parts: Sequence[Entries], seed: int = 0
    ) -> list[float | None]:
        """Accuracy or RMSE on each of the parts, or None where it is empty, in one pass; `seed` is of its order."""
        entries, groups = mixed(parts, seed)
        counts = self._count(method, source, entries, groups, len(parts))
        means = counts.totals / counts.samples
        return nan_to_none(means.sqrt() if isinstance(self.space, Box) else means)

    def _count(
        self,
        method: Predictor,
        source: LabelledSamples,
        entries: Entries,
        groups: Tensor,
        num_groups: int,
        slicing: Slicing | None = None,
    ) -> Counts:
        return count(
            method,
            source,
            entries,
            groups,
            self.space,
            num_groups=num_groups,
            num_outputs=self.n_outputs,
            show_ids=self.show_ids,
            slicing=slicing,
            is_own=self._is_own(),
        )


def mixed(parts: Sequence[Entries], seed: int) -> tuple[Entries, Tensor]:
    """The entries of all parts in random order, and the part (n,) of each.

    In one pass, mini-batches fill up across the parts. The order keeps the neighbours of a sample from telling its
    part, which may be its task.
    """
    order = torch.randperm(sum(map(len, parts)), generator=generator(seed, "parts"))
    groups = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(part) for part in parts]))
    return Entries.concatenate(parts)[order], groups[order]


def count(
    method: Predictor,
    source: LabelledSamples,
    entries: Entries,
    groups: Tensor,
    space: Space,
    *,
    num_groups: int,
    num_outputs: int,
    show_ids: bool,
    slicing: Slicing | None = None,
    is_own: Tensor | None = None,
) -> Counts:
    """Let a method predict samples, and compare the predictions with the labels.

    The method gets samples, and task ids if they are shown; labels stay here. The workers divide the samples and add
    up their counts.

    Args:
        method: The method.
        source: Samples and labels.
        entries: The samples to predict.
        groups: The group of each sample (n,), such as its task.
        space: The classes, or the numbers to predict.
        num_groups: Number of groups G.
        num_outputs: Number of classes, or of numbers to predict of each sample.
        show_ids: Whether the method is told the task of each sample.
        slicing: The slices of the samples, if these are counted, too.
        is_own: Classes (T, K) that can be among the five best of a sample of each task; None: all.

    Raises:
        InvalidPredictionError: If the method answers with something else than classes, scores or numbers.
    """
    sums = torch.zeros(3, num_groups, dtype=torch.float64)
    by_slice = torch.zeros(3, 0 if slicing is None else len(slicing.names), dtype=torch.float64)
    ranked = num_outputs > 2 * TOP and not isinstance(space, Box)
    shard = torch.arange(len(entries))[split_evenly(len(entries), rank(), world_size())]
    with preserved_random_state(), torch.no_grad():
        batches = source.batches(entries[shard], TEST_BATCH)
        for (batch, x), own in zip(batches, groups[shard].split(TEST_BATCH), strict=True):
            answer = ask(method, x, batch.tasks.clone() if show_ids else None, space)
            ranked = ranked and answer.dim() == 2
            # Compared on the device of the answer: few numbers of each sample are copied, and not its many scores.
            y = source.labels(batch).to(answer.device)
            values = _squared_errors(answer, y) if y.is_floating_point() else _hits(answer, y, is_own, batch.tasks)
            losses = () if slicing is None else (_losses(answer, y),)
            found = torch.stack([torch.ones_like(values[0]), *values, *losses]).cpu().double()
            n_rows = 1 + len(values)
            sums[:n_rows].index_add_(1, own, found[:n_rows])
            if slicing is not None:
                by_slice.index_add_(1, slicing.of_rows[batch.rows], found[[0, 1, -1]])
    samples, totals, top5 = sum_over_workers(sums)
    slices = None if slicing is None else sum_over_workers(by_slice)
    return Counts(samples, totals, top5 if ranked else None, slices)


def label_answers(
    method: Predictor, source: LabelledSamples, entries: Entries, space: Space, *, show_ids: bool
) -> Tensor:
    """The scores (n, L), or the predicted label sets (n, L), of all samples; every worker gets those of all workers.

    Args:
        method: The method.
        source: Samples and labels.
        entries: The samples to predict.
        space: The labels.
        show_ids: Whether the method is told the task of each sample.

    Raises:
        InvalidPredictionError: If the method answers with something else than scores or label sets.
    """
    shard = torch.arange(len(entries))[split_evenly(len(entries), rank(), world_size())]
    answers = []
    with preserved_random_state(), torch.no_grad():
        for batch, x in source.batches(entries[shard], TEST_BATCH):
            answers.append(ask(method, x, batch.tasks.clone() if show_ids else None, space).cpu())
    return torch.cat([answer for own in gather_objects(answers) for answer in own])


def ask(method: Predictor, x: Tensor, task_id: Tensor | None, space: Space) -> Tensor:
    """The checked answer of a method for samples (B, ...), on its device: classes (B,), scores (B, K), sets or numbers.

    Raises:
        InvalidPredictionError: If the answer cannot be scored.
        NotTrainedError: If the method cannot predict yet.
    """
    n, answer = len(x), method.predict(x, task_id)
    check_form(answer, space, n, "predict returned", scores=True)
    answer = answer.detach()
    check_values(answer, space, "predict returned")
    return answer


def _squared_errors(answer: Tensor, y: Tensor) -> tuple[Tensor]:
    """The squared error (B,) of each sample's prediction, on the CPU: some devices have no float64."""
    return ((answer.cpu().double() - y.cpu()).square().view(len(y), -1).mean(1),)


def _hits(answer: Tensor, y: Tensor, is_own: Tensor | None, tasks: Tensor) -> tuple[Tensor, Tensor]:
    """Two masks (B,): the prediction is right; the class is among the five highest scores."""
    if answer.dim() == 1:
        return answer == y, answer == y
    highest = answer.topk(min(TOP, answer.shape[1]), dim=1).indices == y[:, None]
    right = highest[:, 0]
    if is_own is not None:
        answer = answer.masked_fill(~is_own[tasks].to(answer.device), -torch.inf)
        highest = answer.topk(min(TOP, answer.shape[1]), dim=1).indices == y[:, None]
    return right, highest.any(1)


def _losses(answer: Tensor, y: Tensor) -> Tensor:
    """The cross-entropy (B,) of scores, in nats; NaN where the method answered with classes."""
    if answer.dim() == 1:
        return torch.full(y.shape, torch.nan, device=y.device)
    return F.cross_entropy(answer.float(), y, reduction="none")
