"""Samples that lie in files are decoded batch by batch, by worker processes ahead of the training if there are any.

The rows of each batch are known beforehand, so the process that decodes them changes no number of a run.
"""

import multiprocessing
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from redwood.core.child_processes import (
    check_processes,
    end_with_parent,
    interrupts_blocked,
    main_module_hidden,
    usable_cores,
)
from redwood.core.errors import DataError, InvalidOptionError, RedwoodError, reason_of
from redwood.core.fork_server import accept_signals
from redwood.core.user_warnings import warn
from redwood.settings.data.arrays import Samples, drawn

BATCHES_AHEAD = 2  # of each worker
MOST_BY_DEFAULT = 4
# Fewer samples than this are decoded here by default: starting processes, in each phase and test, would take longer.
WORTH_PROCESSES = 5_000
# Imported once by the server process that the workers are copies of.
PRELOAD = ["torch.utils.data", "PIL.Image", "redwood.settings.data.folders", __name__]

# Number of a batch, and its rows (n,).
_Request: TypeAlias = tuple[int, np.ndarray]


class Decoding:
    """The processes that decode the samples of a stream.

    Attributes:
        workers: Processes that decode the coming batches. 0: this process decodes each batch when it is needed.
        pin_memory: Whether decoded batches lie in pinned memory, from where they move to a GPU faster.
    """

    def __init__(self) -> None:
        self.workers, self.pin_memory = 0, False
        self._open: set[ReadAhead] = set()

    @contextmanager
    def in_workers(self, workers: int, pin_memory: bool) -> Iterator[None]:
        """Decode in worker processes inside the block; none of them outlives it."""
        self.workers, self.pin_memory = workers, pin_memory
        try:
            yield
        finally:
            self.workers, self.pin_memory = 0, False
            for reader in list(self._open):
                reader.close()

    def opened(self, reader: "ReadAhead") -> None:
        """Register a reader that has started processes: it is closed at the end of the block, if not before."""
        self._open.add(reader)

    def closed(self, reader: "ReadAhead") -> None:
        """Forget a reader that has ended its processes."""
        self._open.discard(reader)


def decoding_workers(name: str, samples: Sequence[Samples], given: int | None, share: int) -> int:
    """Return the number of processes that decode samples ahead.

    Args:
        name: The data set, for messages.
        samples: All samples that have to be decoded, or are in memory.
        given: The option `num_workers`; None: as many as there are cores, up to `MOST_BY_DEFAULT`, where there are
            enough samples.
        share: Number of training processes that share the cores.

    Raises:
        InvalidOptionError: If processes are asked for, but the samples are in memory or cannot be sent to them.
    """
    outside = [x for x in samples if not isinstance(x, Tensor)]
    if not outside and given:
        raise InvalidOptionError(
            f"--num_workers {given} has no effect on {name}, whose samples are in memory; leave it out."
        )
    if not outside or given == 0 or (given is None and sum(map(len, outside)) < WORTH_PROCESSES):
        return 0
    reason = next(filter(None, map(_why_not_sent, outside)), None)
    if reason is not None and given:
        raise InvalidOptionError(
            f"--num_workers {given} needs samples that can be sent to other processes, but {reason}; define classes "
            "and functions at the top of an imported module, or leave it out."
        )
    if reason is not None:
        return 0
    check_processes("num_workers", given or 0)
    return given or min(MOST_BY_DEFAULT, max(1, usable_cores() // share))


def _why_not_sent(x: Samples) -> str | None:
    """Why samples cannot be sent to another process; None if they can."""
    sink = _Sink()
    try:
        pickle.Pickler(sink).dump(x)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        return reason_of(error)
    return f"{type(x).__name__} is made of parts of the script that is run" if sink.names_main else None


class _Sink:
    """A file that keeps nothing, and notes whether the script that is run is named in it."""

    names_main = False

    def write(self, data: bytes) -> int:
        """Take bytes; large arrays come alone, and name nothing."""
        self.names_main |= len(data) < 2**17 and b"__main__" in bytes(data)
        return len(data)


class ReadAhead:
    """The samples of batches 0..length-1, each decoded once, in this order.

    Batches may be read in another order: one that is over is decoded again, in this process.
    """

    def __init__(
        self, x: Samples, rows_of: Callable[[int], Tensor], length: int, decoding: Decoding, *, seed: int
    ) -> None:
        """Read nothing yet.

        Args:
            x: The samples.
            rows_of: The rows (n,) of a batch, by its number.
            length: Number of batches.
            decoding: The processes that decode them.
            seed: Seed of the draws of `x` when it is indexed, such as random crops; each batch has its own.
        """
        self._x, self._rows_of, self._length, self._seed = x, rows_of, length, seed
        self._decoding = decoding
        self._workers: _DecodingWorkers | None = None
        self._next: int | None = None
        self._kept: dict[int, Tensor] = {}

    def read(self, number: int, *, first: int, keep: bool = False) -> Tensor:
        """The samples (n, ...) of a batch.

        Args:
            number: The batch.
            first: The first batch that is still needed.
            keep: Whether this batch will be read again.

        Raises:
            DataError: If a sample cannot be decoded.
        """
        if self._next is None:
            self._next = min(first, number)
            self._start(self._next)
        while self._next <= number:
            self._kept[self._next] = self._decode_next(self._next)
            self._next += 1
        x = self._kept.pop(number) if number in self._kept else self._decode(number)
        if keep:
            self._kept[number] = x
            return x.clone()
        return x

    def _start(self, number: int) -> None:
        """Let worker processes decode from batch `number` on, if there are any."""
        if self._decoding.workers and self._length - number > 1:
            requests = ((coming, self._rows_of(coming).numpy()) for coming in range(number, self._length))
            self._workers = _DecodingWorkers(self._x, self._seed, requests, self._decoding)
            self._decoding.opened(self)

    def _decode_next(self, number: int) -> Tensor:
        if self._workers is None:
            return self._decode(number)
        try:
            x = self._workers.next()
        except _WorkerEndedError as error:
            self.close()
            warn(
                f"A process that decodes samples has ended ({error}); the training process decodes the others of the "
                "phase itself. If memory has run out, lower --num_workers."
            )
            return self._decode(number)
        if number == self._length - 1:
            self.close()
        return x

    def _decode(self, number: int) -> Tensor:
        return drawn(self._x, self._rows_of(number), self._seed, "samples", number)

    def close(self) -> None:
        """End the worker processes; later batches are decoded in this process."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None
            self._decoding.closed(self)


class _WorkerEndedError(Exception):
    """A worker process has ended, by a signal for example."""


class _Decoder(Dataset[Tensor]):
    """The data set in a worker process; it decodes a whole batch at a time."""

    def __init__(self, x: Samples, seed: int) -> None:
        self._x, self._seed = x, seed

    def __getitems__(self, request: _Request) -> Tensor | str:
        """The samples of a batch, or the sentence that says why they cannot be read."""
        number, rows = request
        try:
            return drawn(self._x, torch.from_numpy(rows), self._seed, "samples", number)
        except RedwoodError as error:
            return str(error)


class _DecodingWorkers:
    """Worker processes that decode batches in their order.

    They are copies of a server process which has no threads and has imported all they need ("forkserver"). A copy of
    the training process itself could wait for ever for a lock that one of its threads held in that moment.
    """

    def __init__(self, x: Samples, seed: int, requests: Iterator[_Request], decoding: Decoding) -> None:
        """Start the processes."""
        loader = DataLoader(
            _Decoder(x, seed),
            batch_sampler=requests,  # type: ignore[arg-type]
            collate_fn=_as_it_is,
            num_workers=decoding.workers,
            prefetch_factor=BATCHES_AHEAD,
            pin_memory=decoding.pin_memory,
            multiprocessing_context=_context(),
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # else torch draws from the global generator
        )
        with interrupts_blocked(), main_module_hidden():
            self._batches: Any = iter(loader)

    def next(self) -> Tensor:
        """The next batch.

        Raises:
            DataError: If one of its samples cannot be decoded.
            _WorkerEndedError: If a process has ended.
        """
        try:
            x: Tensor | str = next(self._batches)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise _WorkerEndedError(error) from error
        if isinstance(x, str):
            raise DataError(x)
        return x

    def close(self) -> None:
        """End the processes."""
        self._batches._shutdown_workers()


def _as_it_is(x: object) -> Any:
    return x


def _start_worker(number: int) -> None:
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the training process, too, which ends this one
    accept_signals()


def _context() -> ForkServerContext | SpawnContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context
