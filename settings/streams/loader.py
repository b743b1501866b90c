"""A Lightning-ready loader over samples in memory: one index operation per batch, no copies per sample."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from redwood.settings.batch import Batch
from redwood.settings.data.dataset import Rows
from redwood.settings.streams.batches import batch_cuts
from redwood.settings.streams.order import Entries, shuffled
from redwood.settings.streams.tasks import Task


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


class BatchLoader:
    """Iterates over the mini-batches of one worker.

    Two ways to present each sample `passes` times: where order carries no meaning (`shuffle`), the sequence is gone
    through `passes` times, newly shuffled each time, as that many epochs. Where the order is the stream's own, going
    back would revisit the past, so each mini-batch is repeated `passes` times before the stream moves on.

    It is resumable: `state_dict` names the next batch, as Lightning's checkpoints expect.

    Attributes:
        epochs: How often to iterate (what `Trainer(max_epochs=...)` wants).
        first_pass: Whether the batch that was yielded last was shown for the first time.
        samples_served: Samples yielded so far, repeats included.
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
        cuts = batch_cuts(len(entries), batch_size, workers).tolist()
        self._spans = list(zip(cuts[rank::workers], cuts[rank + 1 :: workers], strict=False))
        self._source, self._entries, self._labels = source, entries, source.labels(entries)
        self._shuffle, self._seed, self._show_ids = shuffle, seed, show_ids
        self.passes = passes
        self.epochs = passes if shuffle else 1
        self.first_pass = True
        self.samples_served = 0
        self._epoch = 0
        self._next = 0

    @property
    def steps_per_pass(self) -> int:
        """Batches in which every sample of this worker's shard is shown once."""
        return len(self._spans)

    def __len__(self) -> int:
        """Batches per epoch."""
        return self.steps_per_pass * self.passes // self.epochs

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch, from the next one on."""
        order = torch.arange(len(self._entries))
        if self._shuffle:
            order = shuffled(Entries(order, order), self._seed + self._epoch).rows
        repeats = self.passes // self.epochs
        for step in range(self._next, len(self)):
            start, stop = self._spans[step // repeats]
            index = order[start:stop]
            entries = self._entries[index]
            self.first_pass = self._epoch == 0 and step % repeats == 0
            self.samples_served += stop - start
            # The position is moved on before the yield: whoever stops here has had this batch.
            self._next = step + 1
            if self._next == len(self):
                self._epoch, self._next = self._epoch + 1, 0
            yield Batch(self._source.samples(entries), self._labels[index], entries.tasks if self._show_ids else None)

    def state_dict(self) -> dict[str, int]:
        """The position: epoch, next batch of it, and samples served."""
        return {"epoch": self._epoch, "next": self._next, "samples_served": self.samples_served}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a position."""
        self._epoch, self._next, self.samples_served = state["epoch"], state["next"], state["samples_served"]
