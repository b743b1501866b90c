"""Samples that are held out from training, and when a method gets to see them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from redwood.settings.seeding import generator
from redwood.settings.streams.deck import Deck
from redwood.settings.streams.order import Entries


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The samples held out from a phase, in the order that they are shown.

    Attributes:
        entries: The samples (n,).
        after: How many training samples of the stream come before each (n,); None where all may be shown at once.
    """

    entries: Entries
    after: Tensor | None = None

    def shown(self, training: Deck) -> Entries:
        """Those that may be shown, given how far training is."""
        if self.after is None or training.epoch:
            return self.entries
        return self.entries[self.after < training.entries_shown]


def held_out_along(stream: Entries, held_out: Entries, n_rows: int, seed: int) -> tuple[Entries, HeldOut]:
    """Take the samples that are held out from their places in a stream.

    They are shown mixed, and not before the stream has come by, since their order and the later ones of them would
    tell what is to come.

    Args:
        stream: All samples in the order of the stream.
        held_out: Those to take out, and perhaps samples of other streams, in any order.
        n_rows: Rows of the data set.
        seed: Seed of the mixing.

    Returns:
        The samples that are left for training, in the order of the stream, and those that are taken out.
    """
    aside = torch.isin(_numbers(stream, n_rows), _numbers(held_out, n_rows))
    after = (~aside).cumsum(0)[aside]
    mixed = torch.randperm(len(after), generator=generator(seed, "held out"))
    return stream[~aside], HeldOut(stream[aside][mixed], after[mixed])


def _numbers(entries: Entries, n_rows: int) -> Tensor:
    # The rows alone do not tell samples apart: tasks that change the inputs share them.
    return entries.tasks * n_rows + entries.rows
