"""Loaders of the samples of a phase: one index operation per batch, no copies per sample. Lightning accepts them."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor

from redwood.core.digest import bytes_digest
from redwood.core.errors import PhaseOverError
from redwood.core.state import State
from redwood.settings.batch import Batch, BatchId
from redwood.settings.streams.batches import BatchSequence

K = TypeVar("K")
V = TypeVar("V")


class BatchLoader:
    """Yields the mini-batches of one worker, `epochs` times, until the phase is over.

    All iterators share one position. `state_dict` names the next batch, as Lightning's checkpoints expect. A copy of a
    loader yields nothing.

    Attributes:
        passes: How often each sample is presented.
        epochs: How often to iterate: `Trainer(max_epochs=...)`.
        steps_per_pass: Number of batches that present every sample of this worker once.
        sizes: Number of samples of each of these batches.
        digest: CRC-32 of all samples and labels yielded so far, in their order.
    """

    def __init__(self, sequence: BatchSequence) -> None:
        """Yield the batches of `sequence`."""
        _SEQUENCES[self] = sequence
        self.passes, self.epochs = sequence.passes, sequence.epochs
        self.sizes = sequence.sizes
        self.steps_per_pass = len(sequence.spans)
        self._length, self._number = sequence.length, sequence.number
        self._served = self.digest = 0

    def __len__(self) -> int:
        """Batches per epoch."""
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        """Yield the remaining batches of the current epoch.

        Raises:
            PhaseOverError: If all epochs are over, or the phase is.
        """
        epoch, epochs = _held(_SEQUENCES, self).epoch, _held(_SEQUENCES, self).epochs
        if epoch == epochs:
            raise PhaseOverError(
                f"The training samples of this phase have been gone through {epochs} times, which is all that the "
                "setting allows; iterate phase.train as often as phase.train.epochs says."
            )
        while _held(_SEQUENCES, self).epoch == epoch:
            batch = _held(_SEQUENCES, self).next_batch()
            if batch is not None:
                for part in (batch.x, batch.y, batch.unlabelled):
                    self.digest = self.digest if part is None else bytes_digest(part, self.digest)
                yield batch

    def preview(self, n: int) -> Batch:
        """Up to `n` training samples of the phase (10,000 at most), drawn at random, before they are trained on.

        A method may look at its task before it decides how to learn it, where samples are presented several times.
        These samples are not scored, and do not count as trained on.

        Raises:
            HiddenError: If each sample may be presented only once, or the order of the samples matters.
            PhaseOverError: If the phase is over.
        """
        return _held(_SEQUENCES, self).preview(n)

    @property
    def first_pass(self) -> bool:
        """True if the last batch was presented for the first time; see `Batch.first_pass`."""
        return _held(_SEQUENCES, self).first_pass

    @property
    def batch_id(self) -> BatchId | None:
        """Identity of the last batch."""
        return _held(_SEQUENCES, self).batch_id

    @property
    def unlabelled(self) -> Tensor | None:
        """Samples (u, ...) that came with the last batch and stay without labels; see `Batch.unlabelled`."""
        return _held(_SEQUENCES, self).unlabelled

    @property
    def samples_served(self) -> int:
        """Samples yielded so far, repeats included."""
        return _SEQUENCES[self].samples_served if self in _SEQUENCES else self._served

    def labels_shown(self, first: int = 0) -> Tensor:
        """The setting's own labels (n,), or targets, of the batches of the first pass so far, in their order.

        Args:
            first: The first batch whose labels are wanted.
        """
        return _held(_SEQUENCES, self).labels_shown(first)

    def id_of(self, batch: object) -> BatchId | None:
        """The identity of `batch`; None if this loader has not yielded it.

        Raises:
            PhaseOverError: If the phase is over.
        """
        _held(_SEQUENCES, self)
        batch_id = batch.batch_id if isinstance(batch, Batch) else None
        return batch_id if batch_id is not None and batch_id.loader == self._number else None

    def close(self) -> None:
        """Free the samples."""
        self._served = self.samples_served
        sequence = _SEQUENCES.pop(self, None)
        if sequence is not None:
            sequence.close()

    def state_dict(self) -> State:
        """The position: epoch, next batch of it, and samples served; their digest; and the state of each observer."""
        sequence = _held(_SEQUENCES, self)
        position = {"epoch": sequence.epoch, "next": sequence.next, "samples_served": sequence.samples_served}
        observers = [observer.state_dict() for observer in sequence.observers]
        return position | {"digest": self.digest, "observers": observers}

    def load_state_dict(self, state: State) -> None:
        """Continue from a position.

        Raises:
            PhaseOverError: If batches have been yielded already: the stream does not go back.
        """
        sequence = _held(_SEQUENCES, self)
        if sequence.served:
            raise PhaseOverError("A stream does not go back: the position can be set before the first batch only.")
        sequence.epoch, sequence.next, sequence.samples_served = state["epoch"], state["next"], state["samples_served"]
        self.digest = state["digest"]
        for observer, own in zip(sequence.observers, state["observers"], strict=True):
            observer.load_state_dict(own)


class HeldOutLoader:
    """Yields the samples held out from training, from the first one in each iteration, until the phase is over.

    Where boundaries are not announced, it yields only samples whose places the stream has passed: none at first, and
    all in the end. `len` counts all of them.
    """

    def __init__(self, shown: Callable[[], BatchSequence | None], length: int) -> None:
        """Yield the batches that `shown` returns at each iteration (None: no batch); at most `length`."""
        _SHOWN[self] = shown
        self._length = length

    def __len__(self) -> int:
        """Number of batches of all held-out samples."""
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches.

        Raises:
            PhaseOverError: If the phase is over.
        """
        sequence = _held(_SHOWN, self)()
        if sequence is None:
            return
        with closing(sequence):
            while not sequence.epoch:
                _held(_SHOWN, self)
                batch = sequence.next_batch()
                if batch is not None:
                    yield batch.with_id(None)

    def close(self) -> None:
        """Free the samples."""
        _SHOWN.pop(self, None)


# Not attributes of the loaders: from a loader, no attribute may lead to future samples or to hidden ids.
_SEQUENCES: WeakKeyDictionary[BatchLoader, BatchSequence] = WeakKeyDictionary()
_SHOWN: WeakKeyDictionary[HeldOutLoader, Callable[[], BatchSequence | None]] = WeakKeyDictionary()


def _held(table: WeakKeyDictionary[K, V], loader: K) -> V:
    held = table.get(loader)
    if held is None:
        raise PhaseOverError("The phase is over, and serves no more samples; keep what is needed of it in `fit`.")
    return held
