"""The samples of one phase in the order that they are handed out; methods see loaders of them only."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from redwood.core.seeding import generator
from redwood.settings.batch import Batch, Showing
from redwood.settings.data.dataset import Rows
from redwood.settings.streams.order import Entries, batch_cuts, shuffled
from redwood.settings.streams.tasks import Task

_NUMBERS = count()


@dataclass(frozen=True, eq=False)
class Source:
    """Where the samples behind entries come from, and what becomes of them.

    Attributes:
        x: Samples of the data set (N, ...).
        y: Labels of the data set (N,), or targets (N,) or (N, d) of regression.
        tasks: All tasks of the stream; they say how samples and labels are transformed.
    """

    x: Rows
    y: Tensor
    tasks: Sequence[Task]

    def labels(self, entries: Entries) -> Tensor:
        """Labels of the entries (n,) as their tasks define them; targets (n,) or (n, d) are the same in all tasks."""
        if self.y.is_floating_point():
            return self.y[entries.rows]
        label_maps = torch.stack([task.label_map for task in self.tasks])
        return label_maps[entries.tasks, self.y[entries.rows]]

    def samples(self, entries: Entries) -> Tensor:
        """Samples of the entries (n, ...) as their tasks show them."""
        x = self.x.index_select(0, entries.rows) if isinstance(self.x, Tensor) else self.x[entries.rows]
        if any(task.transform is not None for task in self.tasks):
            for number in torch.unique(entries.tasks).tolist():
                transform = self.tasks[number].transform
                if transform is not None:
                    members = entries.tasks == number
                    x[members] = transform(x[members])
        return x


class Deck:
    """Deals the mini-batches of one worker.

    Two ways to present each sample `passes` times: where order carries no meaning (`shuffle`), the sequence is gone
    through `passes` times, newly shuffled each time, as that many epochs. Where the order is the stream's own, going
    back would revisit the past, so each mini-batch is repeated `passes` times before the stream moves on.

    Attributes:
        number: Tells the decks of a process apart.
        passes: How often each sample is presented.
        epochs: How often the sequence is gone through.
        length: Batches per epoch.
        spans: Where each batch of a pass starts and stops in the sequence.
        first_pass: Whether the batch that was dealt last was shown for the first time.
        showing: What the batch that was dealt last is known by.
        samples_served: Samples dealt so far, repeats included.
        dealt: Whether a batch has been dealt in this process.
        epoch: The epoch that the next batch belongs to.
        next: Which batch of the epoch comes next.
    """

    def __init__(
        self,
        source: Source,
        entries: Entries,
        batch_size: int,
        *,
        passes: int = 1,
        shuffle: bool,
        seed: int,
        show_ids: bool,
        rank: int = 0,
        workers: int = 1,
    ) -> None:
        """Cut `entries` into batches.

        Args:
            source: Where samples and labels come from.
            entries: The sequence to present.
            batch_size: Samples per batch of one worker.
            passes: How often each sample is presented.
            shuffle: Whether the order carries no meaning.
            seed: Seed of the shuffling.
            show_ids: Whether batches carry task ids.
            rank: Which worker this is.
            workers: Over how many workers the sequence is sharded.
        """
        self._cuts = batch_cuts(len(entries), batch_size, workers).tolist()
        self.spans = list(zip(self._cuts[rank::workers], self._cuts[rank + 1 :: workers], strict=False))
        self._source, self._entries, self._labels = source, entries, source.labels(entries)
        self._shuffle, self._seed, self._show_ids, self._workers = shuffle, seed, show_ids, workers
        self.number = next(_NUMBERS)
        self.passes = passes
        self.epochs = passes if shuffle else 1
        self._repeats = passes // self.epochs
        self.length = len(self.spans) * self._repeats
        self.first_pass, self.dealt = True, False
        self.showing: Showing | None = None
        self.samples_served = self.epoch = self.next = 0
        self._order = torch.empty(0)
        self._order_of = -1

    def deal(self) -> Batch:
        """The next batch; its epoch has to be one of `epochs`."""
        if self._order_of != self.epoch:
            self._order, self._order_of = self._order_in(self.epoch), self.epoch
        step, shown = divmod(self.next, self._repeats)
        start, stop = self.spans[step]
        index = self._order[start:stop]
        self.first_pass = self.epoch == 0 and shown == 0
        self.samples_served += stop - start
        self.dealt = True
        # The position is moved on before the batch is out: whoever stops here has had it.
        self.next += 1
        if self.next == self.length:
            self.epoch, self.next = self.epoch + 1, 0
        entries = self._entries[index]
        ids = entries.tasks if self._show_ids else None
        self.showing = Showing(self.number, step, self.first_pass)
        return Batch(self._source.samples(entries), self._labels[index], ids).known_as(self.showing)

    def _order_in(self, epoch: int) -> Tensor:
        order = torch.arange(len(self._entries))
        return shuffled(Entries(order, order), self._seed + epoch).rows if self._shuffle else order

    @property
    def steps_shown(self) -> int:
        """How many batches of the first pass have been dealt."""
        return len(self.spans) if self.epoch else -(-self.next // self._repeats)

    @property
    def entries_shown(self) -> int:
        """How many entries of the first pass have been dealt, by all workers."""
        return int(self._cuts[self.steps_shown * self._workers])

    def labels_shown(self) -> Tensor:
        """Labels (n,), or targets (n,) or (n, d), of what was dealt to this worker in the first pass, in that order."""
        starts, stops = torch.tensor(self.spans[: self.steps_shown], dtype=torch.long).view(-1, 2).unbind(1)
        sizes = stops - starts
        ends = sizes.cumsum(0)
        places = torch.arange(int(sizes.sum())) + (stops - ends).repeat_interleave(sizes)
        return self._labels[self._order_in(0)[places]]


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
