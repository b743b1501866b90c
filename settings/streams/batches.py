"""The mini-batches of one phase in their order. Methods never get these objects, only loaders."""

from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count, islice
from typing import Protocol, overload

import torch
from torch import Tensor

from redwood.core.errors import HiddenError
from redwood.core.seeding import generator
from redwood.core.state import State
from redwood.settings.batch import Batch, BatchId
from redwood.settings.data.arrays import Samples
from redwood.settings.data.entries import Entries
from redwood.settings.streams.order import batch_cuts, shuffled, workers_of_places
from redwood.settings.streams.partition import serve_own
from redwood.settings.streams.read_ahead import Decoding, ReadAhead
from redwood.settings.streams.tasks import SupervisedTask

_NUMBERS = count()
# Samples of a phase that a method may look at before training.
MOST_PREVIEWED = 10_000
# Samples that are decoded at a time where a batch is large, as in tests: a part of it for each process.
DECODED_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Source:
    """The samples and labels of a data set, as the tasks transform them.

    Attributes:
        x: Samples of the data set (N, ...).
        y: Labels of the data set (N,), label sets (N, L), or targets (N,) or (N, d) of regression.
        tasks: All tasks of the stream, which transform samples and labels.
        decoding: The processes that decode samples that are not in memory.
    """

    x: Samples
    y: Tensor
    tasks: Sequence[SupervisedTask]
    decoding: Decoding = field(default_factory=Decoding, kw_only=True)

    def labels(self, entries: Entries) -> Tensor:
        """Labels (n,) or label sets (n, K) of the entries, mapped by their tasks; targets are the same in all tasks."""
        if self.y.is_floating_point():
            return self.y[entries.rows]
        if self.y.dtype == torch.bool:
            sets = torch.zeros(len(entries), int(self._label_maps.max()) + 1, dtype=torch.bool)
            return sets.scatter_(1, self._label_maps[entries.tasks], self.y[entries.rows])
        return self._label_maps[entries.tasks, self.y[entries.rows]]

    @cached_property
    def _label_maps(self) -> Tensor:
        """The label maps (T, K) of all tasks: made once, since a stream may have many tasks and classes."""
        return torch.stack([task.label_map for task in self.tasks])

    @cached_property
    def _has_transforms(self) -> bool:
        """True if a task transforms its samples."""
        return any(task.transform is not None for task in self.tasks)

    def samples(self, entries: Entries) -> Tensor:
        """Samples of the entries (n, ...), transformed by their tasks."""
        x = self.x.index_select(0, entries.rows) if isinstance(self.x, Tensor) else self.x[entries.rows]
        return self.transformed(x, entries)

    def batches(self, entries: Entries, size: int) -> Iterator[tuple[Entries, Tensor]]:
        """The entries in batches of `size`, each with its samples; those to come are decoded ahead."""
        batches = [entries[index] for index in torch.arange(len(entries)).split(size)]
        if isinstance(self.x, Tensor):
            yield from ((batch, self.samples(batch)) for batch in batches)
            return
        parts = [rows for batch in batches for rows in batch.rows.split(DECODED_AT_ONCE)]
        reader = ReadAhead(self.x, parts.__getitem__, len(parts), self.decoding, seed=0)
        numbers = count()
        with closing(reader):
            for batch in batches:
                n_parts = max(1, -(-len(batch) // DECODED_AT_ONCE))
                x = torch.cat([reader.read(part, first=part) for part in islice(numbers, n_parts)])
                yield batch, self.transformed(x, batch)

    def transformed(self, x: Tensor, entries: Entries) -> Tensor:
        """The samples (n, ...) of the entries as their tasks transform them, in place."""
        if self._has_transforms:
            for number in torch.unique(entries.tasks).tolist():
                transform = self.tasks[number].transform
                if transform is not None:
                    members = entries.tasks == number
                    x[members] = transform(x[members])
        return x


class Observer(Protocol):
    """Is told of each mini-batch of a sequence just before it is served."""

    def before_batch(self, number: int) -> None:
        """Mini-batch `number` comes next, counted over all passes."""

    def state_dict(self) -> State:
        """Return the state that a run needs to resume inside the phase."""

    def load_state_dict(self, state: State) -> None:
        """Continue inside the phase."""


class Spans(Sequence[tuple[int, int]]):
    """Start and stop of each batch of a worker, read from the cuts: a list of pairs takes 15 times their memory."""

    def __init__(self, cuts: "array[int]", rank: int, workers: int) -> None:
        self._cuts, self._rank, self._workers = cuts, rank, workers
        self._length = -(-(len(cuts) - 1 - rank) // workers)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> tuple[int, int]: ...

    @overload
    def __getitem__(self, index: slice) -> list[tuple[int, int]]: ...

    def __getitem__(self, index: int | slice) -> tuple[int, int] | list[tuple[int, int]]:
        """The span of a batch, or those of a slice, counted as in a list."""
        if isinstance(index, slice):
            return [self[number] for number in range(self._length)[index]]
        place = self._rank + range(self._length)[index] * self._workers
        return self._cuts[place], self._cuts[place + 1]


class BatchSequence:
    """The mini-batches of one worker.

    Each sample is presented `passes` times, in one of two ways. If `shuffle`, the sequence is repeated `passes` times,
    shuffled anew each time: these are the epochs. Else the order matters and there is one epoch: each mini-batch is
    repeated `passes` times before the next one comes.

    Attributes:
        number: Identity of the sequence in this process.
        passes: How often each sample is presented.
        epochs: How often the whole sequence is repeated.
        length: Batches per epoch.
        spans: Start and stop of each batch of a pass in the sequence.
        first_pass: Whether the last batch was presented for the first time.
        batch_id: Identity of the last batch.
        unlabelled: Samples (u, ...) that came with the last batch and stay without labels; None if there are none.
        samples_served: Samples presented so far, repeats included.
        served: Whether a batch has been served in this process.
        epoch: The epoch that the next batch belongs to.
        next: Number of the next batch within its epoch.
        observers: Objects that are told of each batch before it is served.
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
        owners: Tensor | None = None,
    ) -> None:
        """Cut `entries` into batches.

        Args:
            source: The samples and labels.
            entries: The sequence to present.
            batch_size: Samples per batch of one worker.
            passes: How often each sample is presented.
            shuffle: Whether the order does not matter.
            seed: Seed of the shuffling.
            show_ids: Whether batches carry task ids.
            rank: Number of this worker.
            workers: Number of workers that share the sequence.
            owners: The worker that each entry (n,) belongs to; each has as many as places (`workers_of_places`). None:
                each pass may bring a worker other entries.
        """
        self._owners = owners
        self._cuts = array("q", self._cut(len(entries), batch_size, workers))
        self.spans: Sequence[tuple[int, int]] = Spans(self._cuts, rank, workers)
        self._source, self._entries, self._labels = source, entries, source.labels(entries)
        self._shuffle, self._seed, self._show_ids = shuffle, seed, show_ids
        self._rank, self._workers = rank, workers
        self.number = next(_NUMBERS)
        self.passes = passes
        self.epochs = passes if shuffle else 1
        self._repeats = passes // self.epochs
        self.length = len(self.spans) * self._repeats
        self.first_pass, self.served = True, False
        self.batch_id: BatchId | None = None
        self.unlabelled: Tensor | None = None
        self.observers: list[Observer] = []
        self._telling = False
        self.samples_served = self.epoch = self.next = 0
        self._orders: dict[int, Tensor] = {}

    def _cut(self, n_samples: int, batch_size: int, workers: int) -> list[int]:
        """Return the places where the sequence is cut into batches; see `batch_cuts`."""
        cuts: list[int] = batch_cuts(n_samples, batch_size, workers).tolist()
        return cuts

    @property
    def sizes(self) -> tuple[int, ...]:
        """Samples that each batch of a pass serves."""
        return tuple(stop - start for start, stop in self.spans)

    def peek(self, step: int) -> Batch:
        """Batch `step` of the first pass, with its labels, without serving it."""
        return self._batch_of(self._places(step), step, again=True)

    def watch(self, observer: Observer) -> None:
        """Tell `observer` of each batch before it is served."""
        self.observers.append(observer)

    def next_batch(self) -> Batch | None:
        """The next batch; None if there is none left. The caller checks that `epoch` is below `epochs`."""
        if self.observers:
            self._tell_observers()
        step, shown = divmod(self.next, self._repeats)
        number = self.epoch * len(self.spans) + step
        index = self._places(step, self.epoch)
        self.first_pass = self.epoch == 0 and shown == 0
        self._advance(len(index))
        self.batch_id = BatchId(self.number, step, self.first_pass)
        return self._batch_of(index, number, again=shown < self._repeats - 1).with_id(self.batch_id)

    def _tell_observers(self) -> None:
        """Tell all observers of the next batch; a method that they ask cannot take it meanwhile.

        Raises:
            HiddenError: If it tries.
        """
        if self._telling:
            raise HiddenError(
                "A mini-batch cannot be taken while the setting asks the method about it; take batches in fit alone."
            )
        self._telling = True
        try:
            for observer in self.observers:
                observer.before_batch(self.epoch * self.length + self.next)
        finally:
            self._telling = False

    def _advance(self, n_served: int) -> None:
        """Move behind a batch of `n_served` samples, before it is returned: a caller that stops now has had it."""
        self.samples_served += n_served
        self.served = True
        self.next += 1
        if self.next == self.length:
            self.epoch, self.next = self.epoch + 1, 0

    @property
    def _number(self) -> int:
        """Number of the next batch, over all epochs; a batch that is repeated at once has one number."""
        return self.epoch * len(self.spans) + self.next // self._repeats

    def _places_of(self, number: int) -> Tensor:
        """The places (n,) of a batch in the sequence, by its number."""
        epoch, step = divmod(number, len(self.spans))
        return self._places(step, epoch)

    def _places(self, step: int, epoch: int = 0) -> Tensor:
        """The places (n,) of a batch in the sequence."""
        start, stop = self.spans[step]
        return self._order_of_epoch(epoch)[start:stop]

    def _batch_of(self, index: Tensor, number: int | None = None, again: bool = False) -> Batch:
        """The samples at these places (n,) of the sequence.

        Args:
            index: The places.
            number: The number of the batch; None: the samples are drawn at random.
            again: Whether the batch will be asked for again.
        """
        entries = self._entries[index]
        ids = entries.tasks if self._show_ids else None
        return Batch(self._samples(entries, number, again), self._labels.index_select(0, index), ids)

    def _samples(self, entries: Entries, number: int | None, again: bool = False) -> Tensor:
        """The samples (n, ...) of a batch; see `_batch_of`."""
        if number is None or isinstance(self._source.x, Tensor):
            return self._source.samples(entries)
        return self._source.transformed(self._reader.read(number, first=self._number, keep=again), entries)

    @cached_property
    def _reader(self) -> ReadAhead:
        """Decodes the batches ahead, where samples are not in memory."""
        source, n_batches = self._source, self._number_of_batches
        return ReadAhead(source.x, self._rows_of, n_batches, source.decoding, seed=self._seed)

    @property
    def _number_of_batches(self) -> int:
        """Batches of all epochs; one that is repeated at once counts once."""
        return len(self.spans) * self.epochs

    def _rows_of(self, number: int) -> Tensor:
        """The rows (n,) of a batch in the data set, by its number."""
        return self._entries.rows[self._places_of(number)]

    def close(self) -> None:
        """End the processes that decode ahead."""
        if "_reader" in vars(self):
            self._reader.close()

    def preview(self, n: int) -> Batch:
        """Up to `n` samples of the sequence, and at most `MOST_PREVIEWED`, drawn at random; each worker gets others.

        Raises:
            HiddenError: If samples come in an order that matters, or are presented once only.
        """
        if not self._shuffle or self.passes == 1:
            raise HiddenError(
                "Samples that are presented once, or in an order that matters, cannot be looked at beforehand; give "
                "--passes 2 or more, under a setting that announces its tasks."
            )
        drawn = torch.randperm(len(self._entries), generator=generator(self._seed, "preview"))
        own = drawn[self._rank :: self._workers] if self._owners is None else drawn[self._owners[drawn] == self._rank]
        return self._batch_of(own[: min(n, MOST_PREVIEWED)])

    def _order_of_epoch(self, epoch: int) -> Tensor:
        """The order (n,) of an epoch; the last two are kept, since batches are decoded ahead."""
        if epoch not in self._orders:
            self._orders = dict(list(self._orders.items())[-1:]) | {epoch: self._order_in(epoch)}
        return self._orders[epoch]

    def _order_in(self, epoch: int) -> Tensor:
        order = torch.arange(len(self._entries))
        if self._shuffle:
            order = shuffled(Entries(order, order), self._seed + epoch).rows
        if self._owners is None:
            return order
        return serve_own(order, self._owners, workers_of_places(torch.tensor(self._cuts), self._workers))

    @property
    def steps_shown(self) -> int:
        """Number of batches of the first pass that were served."""
        return len(self.spans) if self.epoch else -(-self.next // self._repeats)

    @property
    def entries_shown(self) -> int:
        """Number of entries of the first pass that all workers have served."""
        return int(self._cuts[self.steps_shown * self._workers])

    def labels_shown(self, first: int = 0) -> Tensor:
        """Labels (n,), label sets (n, K), or targets, that this worker served in the first pass, in their order.

        Args:
            first: The first batch whose labels are wanted.
        """
        starts, stops = torch.tensor(self.spans[first : self.steps_shown], dtype=torch.long).view(-1, 2).unbind(1)
        sizes = stops - starts
        ends = sizes.cumsum(0)
        places = torch.arange(int(sizes.sum())) + (stops - ends).repeat_interleave(sizes)
        order = self._orders[0] if 0 in self._orders else self._order_in(0)
        return self._labels[order[places]]
