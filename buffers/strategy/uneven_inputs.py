"""Let workers whose loaders differ in length end their epochs together."""

from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from redwood.buffers.distributed.peers import everyone, lost_workers
from redwood.core.errors import BufferInputError

# What a loader has after its last batch.
_END = object()


class EvenLoader:
    """A loader of training batches that repeats its last one until the longest of all workers' loaders is through.

    A repeated batch is there to take part in the collectives of a step; it is neither to be stored nor to change the
    gradient. Where one of the loaders does not know its length, the workers tell each other before each batch whether
    they have one more.

    Attributes:
        is_repeating: Whether the latest batch is a repeated one.
    """

    def __init__(self, loader: Any, length: int | None, tell: Callable[[bool], list[bool]] | None = None) -> None:
        """Make a loader as long as the longest one.

        Args:
            loader: Of at most `length` batches.
            length: How many the longest one has; None if that is not known.
            tell: In that case: tells all workers whether this one has another batch, and returns what all say.
        """
        self._loader, self._length, self._tell = loader, length, tell
        self._repeated: deque[bool] = deque()
        self.is_repeating = False

    def __len__(self) -> int:
        """Number of batches, repeated ones included.

        Raises:
            TypeError: If it is not known.
        """
        if self._length is None:
            raise TypeError("One of the workers' loaders does not know its length.")
        return self._length

    def __iter__(self) -> Iterator[Any]:
        """The batches of the loader, then repeated ones."""
        self._repeated.clear()
        self.is_repeating = False
        for batch, is_repeated in self._known() if self._length is not None else self._asked():
            self.is_repeating = is_repeated
            self._repeated.append(is_repeated)
            yield batch

    def take(self) -> bool:
        """Whether the next batch to train on is a repeated one; batches may be fetched ahead."""
        return self._repeated.popleft() if self._repeated else False

    def _known(self) -> Iterator[tuple[Any, bool]]:
        batch = None
        for batch in self._loader:
            yield batch, False
        for _ in range(len(self) - len(self._loader)):
            yield batch, True

    def _asked(self) -> Iterator[tuple[Any, bool]]:
        assert self._tell is not None
        batches, latest = iter(self._loader), _END
        while True:
            batch = next(batches, _END)
            having = self._tell(batch is not _END)
            if not any(having):
                return
            if latest is _END:
                _check_first([int(has) for has in having])
            latest = latest if batch is _END else batch
            yield latest, batch is _END

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copying and pickling ask before there is a loader
            raise AttributeError(name)
        return getattr(self._loader, name)


class EpochEnds:
    """Tells the workers of each other whether they have another batch, in a group of their own."""

    def __init__(self, timeout: timedelta | None) -> None:
        """Wait that long for other workers (default: as torch does)."""
        self._timeout = timeout
        self._group: Any = None

    def tell(self, has_more: bool) -> list[bool]:
        """What all workers say; each of them has to call this, from the thread that trains."""
        with lost_workers():
            if self._group is None:
                self._group = dist.new_group(timeout=self._timeout, backend="gloo")
            answers = torch.empty(dist.get_world_size(), dtype=torch.bool)
            dist.all_gather_into_tensor(answers, torch.tensor([has_more]), group=self._group)
        return answers.tolist()

    def leave(self) -> None:
        """Give up the group; others that wait for this worker learn of it."""
        if self._group is not None and dist.is_initialized():
            dist.destroy_process_group(self._group)
        self._group = None


def even_loader(loader: Any, tell: Callable[[bool], list[bool]]) -> Any:
    """The loader itself where all workers' have the same number of batches, and else one that ends with the others'.

    Every worker has to call this.

    Args:
        loader: That of this worker.
        tell: See `EvenLoader`.

    Raises:
        ValueError: If a worker has no batch while others have.
    """
    try:
        length = len(loader)
    except (TypeError, NotImplementedError):
        length = None
    lengths = everyone(length)
    if None in lengths:
        return EvenLoader(loader, None, tell) if len(lengths) > 1 else loader
    if len(set(lengths)) == 1:
        return loader
    _check_first(lengths)
    return EvenLoader(loader, max(lengths))


def _check_first(lengths: list[int]) -> None:
    if 0 in lengths:
        raise BufferInputError(
            f"Worker {lengths.index(0)} has no training batch, and worker {lengths.index(max(lengths))} has; "
            "give each of them at least one."
        )
