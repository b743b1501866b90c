"""Lightning-ready loaders over samples in memory: one index operation per batch, no copies per sample."""

from collections.abc import Callable, Iterator
from typing import TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor

from redwood.core.errors import PhaseOverError
from redwood.settings.batch import Batch, Showing
from redwood.settings.streams.deck import Deck

K = TypeVar("K")
V = TypeVar("V")


class BatchLoader:
    """Iterates over the mini-batches of one worker; after its epochs, and once the phase is over, it serves no more.

    All iterators share one position, and go on from there. `state_dict` names the next batch, as Lightning's
    checkpoints expect. A copy of a loader serves nothing.

    Attributes:
        passes: How often each sample is presented.
        epochs: How often to iterate (what `Trainer(max_epochs=...)` wants).
        steps_per_pass: Batches in which every sample of this worker's shard is shown once.
        sizes: Samples of each of these batches.
    """

    def __init__(self, deck: Deck) -> None:
        """Serve what `deck` deals."""
        _DECKS[self] = deck
        self.passes, self.epochs = deck.passes, deck.epochs
        self.sizes = tuple(stop - start for start, stop in deck.spans)
        self.steps_per_pass = len(deck.spans)
        self._length, self._number = deck.length, deck.number
        self._served = 0

    def __len__(self) -> int:
        """Batches per epoch."""
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch, from the next one on.

        Raises:
            PhaseOverError: At the first batch, if all epochs are over; at any, if the phase is.
        """
        epoch, epochs = _held(_DECKS, self).epoch, _held(_DECKS, self).epochs
        if epoch == epochs:
            raise PhaseOverError(
                f"The training samples of this phase have been gone through {epochs} times, which is all that the "
                "setting allows; iterate phase.train as often as phase.train.epochs says."
            )
        while _held(_DECKS, self).epoch == epoch:
            yield _held(_DECKS, self).deal()

    @property
    def first_pass(self) -> bool:
        """Whether the batch that was yielded last was shown for the first time; see `Batch.first_pass`."""
        return _held(_DECKS, self).first_pass

    @property
    def showing(self) -> Showing | None:
        """What the batch that was yielded last is known by."""
        return _held(_DECKS, self).showing

    @property
    def samples_served(self) -> int:
        """Samples yielded so far, repeats included."""
        return _DECKS[self].samples_served if self in _DECKS else self._served

    def labels_shown(self) -> Tensor:
        """The setting's own labels (n,), or targets, of all that was yielded for the first time, in that order."""
        return _held(_DECKS, self).labels_shown()

    def showing_of(self, batch: object) -> Showing | None:
        """What `batch` is known by; None if this loader has not yielded it.

        Raises:
            PhaseOverError: If the phase is over.
        """
        _held(_DECKS, self)
        showing = batch.showing if isinstance(batch, Batch) else None
        return showing if showing is not None and showing.loader == self._number else None

    def close(self) -> None:
        """Let go of the samples."""
        self._served = self.samples_served
        _DECKS.pop(self, None)

    def state_dict(self) -> dict[str, int]:
        """The position: epoch, next batch of it, and samples served."""
        deck = _held(_DECKS, self)
        return {"epoch": deck.epoch, "next": deck.next, "samples_served": deck.samples_served}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a position.

        Raises:
            PhaseOverError: If batches have been yielded already: the stream does not go back.
        """
        deck = _held(_DECKS, self)
        if deck.dealt:
            raise PhaseOverError("A stream does not go back: the position can be set before the first batch only.")
        deck.epoch, deck.next, deck.samples_served = state["epoch"], state["next"], state["samples_served"]


class HeldOutLoader:
    """Iterates over samples that are held out from training, from the first one each time, until the phase is over.

    Where boundaries are not announced it yields what the stream has come by so far, so that there is nothing at first
    and all of it in the end; `len` counts all of it.
    """

    def __init__(self, shown: Callable[[], Deck | None], length: int) -> None:
        """Serve once what `shown` returns each time, None for nothing; `length` batches at most."""
        _SHOWN[self] = shown
        self._length = length

    def __len__(self) -> int:
        """Batches of all samples that are held out."""
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches.

        Raises:
            PhaseOverError: If the phase is over.
        """
        deck = _held(_SHOWN, self)()
        while deck is not None and not deck.epoch:
            _held(_SHOWN, self)
            yield deck.deal().known_as(None)

    def close(self) -> None:
        """Let go of the samples."""
        _SHOWN.pop(self, None)


# Kept apart from the loaders, so that no attribute of one leads to samples that are still to come, or to hidden ids.
_DECKS: WeakKeyDictionary[BatchLoader, Deck] = WeakKeyDictionary()
_SHOWN: WeakKeyDictionary[HeldOutLoader, Callable[[], Deck | None]] = WeakKeyDictionary()


def _held(table: WeakKeyDictionary[K, V], loader: K) -> V:
    held = table.get(loader)
    if held is None:
        raise PhaseOverError("The phase is over, and serves no more samples; keep what is needed of it in `fit`.")
    return held
