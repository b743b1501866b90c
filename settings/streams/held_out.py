"""Samples that are held out from a phase, and the time from which they may be shown."""

from dataclasses import dataclass

import torch
from torch import Tensor

from redwood.core.seeding import generator
from redwood.settings.data.entries import Entries
from redwood.settings.streams.batches import BatchSequence


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The samples held out from a phase, in the order in which they are shown.

    Attributes:
        entries: The samples (n,).
        after: Number of training samples of the stream before each of them (n,); None if all may be shown at once.
    """

    entries: Entries
    after: Tensor | None = None

    def shown(self, training: BatchSequence) -> Entries:
        """The samples that may be shown now: the stream has passed their places."""
        if self.after is None or training.epoch:
            return self.entries
        return self.entries[self.after < training.entries_shown]


def held_out_along(stream: Entries, held_out: Entries, n_rows: int, seed: int) -> tuple[Entries, HeldOut]:
    """Remove held-out samples from their places in a stream.

    They are shown shuffled, and only after the stream has passed their places: their order, or later samples, would
    reveal the future of the stream.

    Args:
        stream: All samples in the order of the stream.
        held_out: The samples to remove, in any order. It may hold samples of other streams too.
        n_rows: Number of rows of the data set.
        seed: Seed of the shuffling.

    Returns:
        The remaining training samples in the order of the stream, and the held-out samples.
    """
    aside = torch.isin(_numbers(stream, n_rows), _numbers(held_out, n_rows))
    after = (~aside).cumsum(0)[aside]
    mixed = torch.randperm(len(after), generator=generator(seed, "held out"))
    return stream[~aside], HeldOut(stream[aside][mixed], after[mixed])


def _numbers(entries: Entries, n_rows: int) -> Tensor:
    # Samples alone do not identify samples: tasks that transform the inputs share rows.
    return entries.tasks * n_rows + entries.rows
