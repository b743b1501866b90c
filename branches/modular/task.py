"""A new task, as a search looks at it: its classes, samples to compare networks on, and samples held out."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from redwood.core.seeding import generator
from redwood.core.workers import gather_objects
from redwood.settings.batch import Batch
from redwood.settings.streams.phase import Phase

# Bornschein et al. (2023) look at up to 10,000 samples to choose a network to start from.
MOST_SEEN = 10_000
# Share of a task that a method holds out itself, if the setting holds out nothing.
HELD_OUT = 0.2


@dataclass(frozen=True)
class PhaseClasses:
    """The classes of a phase; a path has one output for each of them.

    Attributes:
        labels: All labels of the phase, ascending.
        by_task: The labels of each task of the phase.
    """

    labels: tuple[int, ...]
    by_task: dict[int, tuple[int, ...]]

    def local(self, y: Tensor) -> Tensor:
        """Return the number of the output of each label (B,); all labels have to be of this phase."""
        return torch.searchsorted(torch.tensor(self.labels, device=y.device), y)

    def pick(self, outputs: Tensor) -> Tensor:
        """The outputs (B, n) of these classes; a module given from Python has outputs for all classes (B, K)."""
        return outputs if outputs.shape[1] == len(self.labels) else outputs[:, list(self.labels)]

    def spread(self, outputs: Tensor, n_outputs: int) -> Tensor:
        """Scores (B, K) of all classes; those of classes that the phase has not are minus infinity."""
        scores = outputs.new_full((len(outputs), n_outputs), -torch.inf)
        scores[:, list(self.labels)] = outputs
        return scores

    def allowed(self, task_id: Tensor | None) -> Tensor | None:
        """Return a mask (B, n) of the outputs that compete for each sample; None if all do."""
        if task_id is None or len(self.by_task) < 2:
            return None
        table = torch.zeros(max(self.by_task) + 1, len(self.labels), dtype=torch.bool, device=task_id.device)
        for task, labels in self.by_task.items():
            table[task] = torch.isin(torch.tensor(self.labels), torch.tensor(labels)).to(table.device)
        return table[task_id]

    def losses(self, outputs: Tensor, batch: Batch, smoothing: float = 0.0) -> Tensor:
        """The cross-entropy (B,) of the outputs (B, n) of a path, among the classes of each sample's task.

        Args:
            outputs: As `pick` returns them.
            batch: The samples, labels and tasks.
            smoothing: The share of the target that is spread evenly over the classes (Szegedy et al., 2016).
        """
        y, allowed = self.local(batch.y), self.allowed(batch.task_id)
        if allowed is None:
            return F.cross_entropy(outputs, y, reduction="none", label_smoothing=smoothing)
        log_p = outputs.masked_fill(~allowed, -torch.inf).log_softmax(1)
        even = log_p.masked_fill(~allowed, 0).sum(1) / allowed.sum(1)
        return -(1 - smoothing) * log_p.gather(1, y[:, None])[:, 0] - smoothing * even

    def correct(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mask (B,), bool: the highest output is that of the label."""
        allowed = self.allowed(batch.task_id)
        outputs = outputs if allowed is None else outputs.masked_fill(~allowed, -torch.inf)
        return outputs.argmax(1) == self.local(batch.y)


def classes_of(phase: Phase) -> PhaseClasses:
    """The classes that a phase tells of its tasks."""
    assert phase.task_classes is not None
    by_task = dict(phase.task_classes)
    return PhaseClasses(tuple(sorted({label for labels in by_task.values() for label in labels})), by_task)


@dataclass(frozen=True)
class TaskSamples:
    """Samples of a task that this worker looks at before it trains.

    Attributes:
        training: Samples that will be trained on.
        held_out: Samples that will not.
        by_content: Whether the method holds these out itself, out of the training samples.
        n_held_out: Number of held-out samples of all workers.
    """

    training: Batch
    held_out: Batch
    by_content: bool
    n_held_out: int


def look_at(phase: Phase, device: torch.device, seed: int) -> TaskSamples:
    """Return up to `MOST_SEEN` training samples of a phase, and as many held-out samples.

    A setting without `--validation` holds out none. Then a share of `HELD_OUT` of the training samples takes their
    place. They are chosen by their content and the seed, so that each pass holds out the same ones. If that would leave
    no sample on one of the two sides, none is held out.
    """
    seen = phase.train.preview(MOST_SEEN)
    held_out = [] if phase.validation is None else list(phase.validation)
    if held_out:
        shown = select(join(held_out), slice(MOST_SEEN))
        return _together(seen.to(device), shown.to(device), by_content=False)
    aside = is_held_out(seen.x, seed)
    by_content = any(gather_objects(bool(aside.any() and not aside.all())))
    if not by_content:
        aside = torch.zeros_like(aside)
    return _together(select(seen, ~aside).to(device), select(seen, aside).to(device), by_content)


def _together(training: Batch, held_out: Batch, by_content: bool) -> TaskSamples:
    return TaskSamples(training, held_out, by_content, sum(gather_objects(len(held_out.y))))


def is_held_out(x: Tensor, seed: int) -> Tensor:
    """Return a mask (B,), bool, of the samples (B, ...) in the share `HELD_OUT`; equal samples belong together."""
    x = x.float() if x.dtype.is_floating_point else x  # as it was stored, whatever a Trainer has made of it
    content = x.reshape(len(x), -1).contiguous().view(torch.uint8).long()
    # Products of 64 bits wrap around, alike on all devices.
    factors = torch.randint(1, 2**62, (content.shape[1],), generator=generator(seed, "held out"))
    digest = (content * factors.to(content.device)).sum(1)
    return ((digest >> 20) & 0xFFFF) < HELD_OUT * 2**16


def select(batch: Batch, rows: Tensor | slice) -> Batch:
    """Return the samples of a batch that `rows` names: a mask (B,), numbers, or a slice."""
    return Batch(batch.x[rows], batch.y[rows], None if batch.task_id is None else batch.task_id[rows])


def join(batches: Sequence[Batch]) -> Batch:
    """One batch of several."""
    ids = [batch.task_id for batch in batches if batch.task_id is not None]
    return Batch(
        torch.cat([batch.x for batch in batches]),
        torch.cat([batch.y for batch in batches]),
        torch.cat(ids) if ids else None,
    )
