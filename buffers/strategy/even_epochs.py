"""Let workers whose loaders differ in length end their epochs together."""

from collections.abc import Iterator
from typing import Any

from redwood.buffers.distributed.peers import everyone


class EvenEpochs:
    """A loader of training batches that repeats its last one until the longest of all workers' loaders is through.

    A repeated batch is there to take part in the collectives of a step; it is neither to be stored nor to change the
    gradient.

    Attributes:
        is_repeating: Whether the latest batch is a repeated one.
    """

    def __init__(self, loader: Any, length: int) -> None:
        """Make `loader`, of at most `length` batches, have as many."""
        self._loader, self._length = loader, length
        self.is_repeating = False

    def __len__(self) -> int:
        """Number of batches, repeated ones included."""
        return self._length

    def __iter__(self) -> Iterator[Any]:
        """The batches of the loader, then repeated ones."""
        self.is_repeating, batch = False, None
        for batch in self._loader:
            yield batch
        self.is_repeating = True
        for _ in range(self._length - len(self._loader)):
            yield batch

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copying and pickling ask before there is a loader
            raise AttributeError(name)
        return getattr(self._loader, name)


def even_epochs(loader: Any) -> Any:
    """The loader itself where all workers' have the same number of batches, or one of them does not know it.

    Every worker has to call this.
    """
    try:
        length = len(loader)
    except (TypeError, NotImplementedError):
        length = None
    lengths = everyone(length)
    if None in lengths or 0 in lengths or len(set(lengths)) == 1:
        return loader
    return EvenEpochs(loader, max(lengths))
