"""Uneven inputs: workers whose loaders differ in length end their epochs together."""

from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch.distributed import ProcessGroup

from redwood.buffers.distributed.peers import lost_workers
from redwood.buffers.pytree import Tree
from redwood.core.errors import BufferInputError
from redwood.core.workers import gather_objects

# Returned by a loader after its last batch.
_END = object()


class EvenLoader:
    """A loader of training batches that repeats its last one until the longest loader of all workers has ended.

    A repeated batch takes part in the collectives of a step. It is not stored, and does not change the gradient. If one
    of the loaders does not know its length, the workers exchange before each batch whether they have one more.

    Attributes:
        is_repeating: Whether the latest batch is a repeated one.
    """

    def __init__(
        self,
        loader: Any,
        length: int | None,
        exchange: Callable[[bool], list[bool]] | None = None,
        is_alone: Callable[[], bool] = lambda: True,
    ) -> None:
        """Make a loader as long as the longest one.

        Args:
            loader: The loader of this worker, of at most `length` batches.
            length: Number of batches of the longest loader; None if that is not known.
            exchange: Needed if that is not known: `MoreBatches.exchange`.
            is_alone: Whether a worker has this loader alone. A batch of several loaders may be repeated in part, and
                has one weight: loaders of other lengths are refused then.
        """
        self._loader, self._length, self._exchange, self._is_alone = loader, length, exchange, is_alone
        self._repeated: deque[bool] = deque()
        self.is_repeating = False
        # Lightning asks by a protocol whether a loader has a state. From Python 3.12 on, that finds no `__getattr__`.
        for name in ("state_dict", "load_state_dict"):
            if hasattr(loader, name):
                setattr(self, name, getattr(loader, name))

    def __len__(self) -> int:
        """Number of batches, repeated ones included.

        Raises:
            TypeError: If it is not known.
        """
        if self._length is None:
            raise TypeError("One of the workers' loaders does not know its length.")
        return self._length

    def __iter__(self) -> Iterator[Tree]:
        """The batches of the loader, then repeated ones.

        Raises:
            ValueError: If there are to be repeated ones, and further loaders.
        """
        if self._length is not None:
            self._check_alone()
        self._repeated.clear()
        self.is_repeating = False
        batches = self._batches_of_unknown_length() if self._length is None else self._batches_of_known_length()
        for batch, is_repeated in batches:
            self.is_repeating = is_repeated
            self._repeated.append(is_repeated)
            yield batch

    def take(self) -> bool:
        """True if the next batch to train on is a repeated one; a loader may fetch batches ahead."""
        return self._repeated.popleft() if self._repeated else False

    def _batches_of_known_length(self) -> Iterator[tuple[Tree, bool]]:
        batch = None
        for batch in self._loader:
            yield batch, False
        for _ in range(len(self) - len(self._loader)):
            yield batch, True

    def _batches_of_unknown_length(self) -> Iterator[tuple[Tree, bool]]:
        assert self._exchange is not None
        batches, latest = iter(self._loader), _END
        while True:
            batch = next(batches, _END)
            have_more = self._exchange(batch is not _END)
            if not any(have_more):
                return
            if latest is _END:
                _check_first([int(has_more) for has_more in have_more])
            if not all(have_more):
                self._check_alone()
            latest = latest if batch is _END else batch
            yield latest, batch is _END

    def _check_alone(self) -> None:
        if not self._is_alone():
            raise BufferInputError(
                "With several training loaders, each has to have as many batches on all workers, and one has not; "
                "make them equally long, or join them to one loader."
            )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copying and pickling ask before there is a loader
            raise AttributeError(name)
        return getattr(self._loader, name)


class MoreBatches:
    """Exchanges between the workers whether each has another batch, in a process group of its own."""

    def __init__(self, timeout: timedelta | None) -> None:
        """Wait that long for other workers (default: as torch does)."""
        self._timeout = timeout
        self._group: ProcessGroup | None = None

    def exchange(self, has_more: bool) -> list[bool]:
        """The answers of all workers; every worker has to call this, from the thread that trains."""
        with lost_workers():
            if self._group is None:
                self._group = cast(ProcessGroup, dist.new_group(timeout=self._timeout, backend="gloo"))
            answers = torch.empty(dist.get_world_size(), dtype=torch.bool)
            dist.all_gather_into_tensor(answers, torch.tensor([has_more]), group=self._group)
        return answers.tolist()

    def leave(self) -> None:
        """Destroy the group; workers that wait for this one end with an error."""
        if self._group is not None and dist.is_initialized():
            dist.destroy_process_group(self._group)
        self._group = None


def even_loader(loader: Any, exchange: Callable[[bool], list[bool]], is_alone: Callable[[], bool]) -> Any:
    """The loader itself if those of all workers have the same number of batches, and else an `EvenLoader`.

    Every worker has to call this.

    Args:
        loader: The loader of this worker.
        exchange: See `EvenLoader`, as for `is_alone`.
        is_alone: Likewise; asked once training begins.

    Raises:
        ValueError: If a worker has no batch while others have.
    """
    try:
        length: int | None = len(loader)
    except (TypeError, NotImplementedError):
        length = None
    with lost_workers():
        lengths = gather_objects(length)
    known = [n for n in lengths if n is not None]
    if len(known) < len(lengths):
        return EvenLoader(loader, None, exchange, is_alone) if len(lengths) > 1 else loader
    if len(set(known)) == 1:
        return loader
    _check_first(known)
    return EvenLoader(loader, max(known), is_alone=is_alone)


def _check_first(lengths: list[int]) -> None:
    if 0 in lengths:
        raise BufferInputError(
            f"Worker {lengths.index(0)} has no training batch, and worker {lengths.index(max(lengths))} has; "
            "give each of them at least one."
        )
