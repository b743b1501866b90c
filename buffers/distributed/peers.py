"""The workers that share their rehearsal buffers, and the two collectives of a step: counts and rows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from threading import Lock, Thread
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.distributed_c10d import _world, get_backend_config

from redwood.buffers.distributed.profiling import Profiler
from redwood.buffers.layout import WORD
from redwood.core.errors import WorkerLostError
from redwood.core.torchrun import meeting


def gather_in_rounds(message: Tensor, rank: int, world: int, group: ProcessGroup) -> Tensor:
    """The messages (W,) of all workers: (N, W), after ceil(log2 N) rounds (Bruck et al., 1997).

    In each round a worker passes on all messages that it has received so far, so that their number doubles.
    """
    messages, distance = message[None], 1  # of this worker and those that follow it
    while distance < world:
        n = min(distance, world - distance)
        heard = message.new_empty(n, len(message))
        _wait(
            [
                dist.irecv(heard, group=group, group_src=(rank + distance) % world),
                dist.isend(messages[:n].contiguous(), group=group, group_dst=(rank - distance) % world),
            ]
        )
        messages, distance = torch.cat([messages, heard]), 2 * distance
    return messages.roll(rank, 0)


def exchange_in_pairs(
    received: Tensor, sent: Tensor, received_splits: list[int], sent_splits: list[int], group: ProcessGroup
) -> None:
    """Send rows (m, ...) and receive rows (n, ...); see `Peers.exchange`.

    No message is sent for no rows, since both workers of a pair know their number.
    """
    under_way = [
        dist.irecv(rows, group=group, group_src=peer)
        for peer, rows in enumerate(received.split(received_splits))
        if len(rows)
    ]
    under_way += [
        dist.isend(rows, group=group, group_dst=peer) for peer, rows in enumerate(sent.split(sent_splits)) if len(rows)
    ]
    _wait(under_way)


def _wait(under_way: list[dist.Work | None]) -> None:
    for work in under_way:
        assert work is not None
        work.wait()


# What a worker says to the one before it when its pause ends, and in which kind of message.
_DONE, _LOST, _TAG = 0, 1, 1
_FOR_EVER = timedelta(days=1000)

# From this number of workers on, messages between pairs are faster than gloo's collectives.
MANY = 16
# Seconds that an abort is waited for: the others must learn of the loss as well.
ABORT_S = 30.0


def place_in(group: ProcessGroup | None) -> tuple[int, int]:
    """Number of this worker in a group (None: all), from 0, and how many there are."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(group), dist.get_world_size(group)


def nccl_group(device: torch.device) -> ProcessGroup | None:
    """All workers of the run, if they exchange tensors on `device`, a GPU, by NCCL.

    A process group may have another backend for each kind of device, such as `cpu:gloo,cuda:nccl`.
    """
    if device.type != "cuda" or not (dist.is_available() and dist.is_initialized()):
        return None
    return dist.group.WORLD if "cuda:nccl" in get_backend_config().split(",") else None


def abort_nccl() -> None:
    """Abort the communicators of all NCCL groups of this process, so that no thread waits in one for a lost worker.

    All at once: on a GPU the collectives of one group may wait for those of another, and so may their abort.
    """
    threads = [Thread(target=group.abort, daemon=True) for group in _nccl_groups()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(ABORT_S)


def _nccl_groups() -> list[ProcessGroup]:
    return [group for group in list(_world.pg_map) if "cuda:nccl" in get_backend_config(group).split(",")]


class Peers:
    """This worker and the others; alone, it exchanges nothing.

    Attributes:
        rank: Number of this worker, from 0.
        world: Number of workers.
        lost: The error that tells of a worker that was lost during a pause.
    """

    def __init__(
        self,
        group: ProcessGroup | None,
        timeout: timedelta | None,
        profiler: Profiler,
        free: Callable[[], None] | None = None,
    ) -> None:
        """Join the workers of a group; every one of them has to call this.

        Args:
            group: The workers; None: all, or this one alone without a process group.
            timeout: How long to wait for the others before they count as lost; None: as torch's default.
            profiler: Notes bytes.
            free: Called once a worker is lost, where training may wait for it in a collective of NCCL.
        """
        self._free = free
        self._has_to_tell, self._telling = False, Lock()
        self.lost: WorkerLostError | None = None
        self.rank, self.world = place_in(group)
        self._profiler = profiler
        self.group: ProcessGroup | None = None
        if self.world > 1:
            # A group of its own: messages of another thread must not get in between the gradients.
            ranks = dist.get_process_group_ranks(group) if group else None
            with meeting():
                made = dist.new_group(ranks, timeout, backend="gloo", use_local_synchronization=ranks is not None)
            self.group = cast(ProcessGroup, made)

    def connected(self, group: ProcessGroup | None, device: torch.device) -> ProcessGroup | None:
        """A group of the same workers, once each pair has exchanged a row; None if there is none, or nobody to join.

        NCCL connects two workers at their first message, which takes long among many: before the first step, then.

        Raises:
            WorkerLostError: If another worker does not take part.
        """
        if group is None or self.world == 1:
            return None
        rows, one_each = torch.zeros(2, self.world, 1, dtype=WORD, device=device), [1] * self.world
        self.exchange(rows[0], rows[1], one_each, one_each, group)
        return group

    def gather(self, message: Tensor) -> Tensor:
        """The messages (W,) of all workers: (N, W).

        Raises:
            WorkerLostError: If another worker does not take part.
        """
        if self.group is None:
            return message[None]
        self.check()
        self._profiler.count(counts=message.nbytes)
        with self._ending_others():
            if self.world >= MANY:
                return gather_in_rounds(message, self.rank, self.world, self.group)
            gathered = message.new_empty(self.world * len(message))
            dist.all_gather_into_tensor(gathered, message, group=self.group)
        return gathered.view(self.world, -1)

    def exchange(
        self,
        received: Tensor,
        sent: Tensor,
        received_splits: list[int],
        sent_splits: list[int],
        group: ProcessGroup | None = None,
    ) -> None:
        """Send rows to all other workers and receive theirs, with one collective, or one message for each pair of many.

        Args:
            received: Where rows (n, words) go, in the order of the workers that they come from.
            sent: Rows (m, words), in the order of the workers that they go to.
            received_splits: Number of rows that come from each worker.
            sent_splits: Number of rows that go to each worker.
            group: Another group of the same workers to exchange rows in; default: the own one, on the host.

        Raises:
            WorkerLostError: If another worker does not take part.
        """
        if self.group is None:
            return
        # As integers: no backend knows complex numbers everywhere.
        numbers = received.view(torch.int64), sent.view(torch.int64)
        with self._ending_others():
            if self.world >= MANY and group is None:
                exchange_in_pairs(*numbers, received_splits, sent_splits, self.group)
            else:
                dist.all_to_all_single(*numbers, received_splits, sent_splits, group=group or self.group)
        self._profiler.count(sent=sent.nbytes, received=received.nbytes)

    @contextmanager
    def _ending_others(self) -> Iterator[None]:
        """Like `lost_workers`; and the thread that trains may wait for that worker in a collective of NCCL.

        NCCL does not notice by itself that a worker has ended. Gloo does; so the exchange of counts fails, and the
        communicators are aborted here. The collective then returns, and the next one raises an error.
        """
        try:
            with lost_workers():
                yield
        except WorkerLostError:
            if self._free is not None and self.group is not None:  # it has not left
                self._free()
            raise

    # A pause: the workers exchange nothing for long, as during a validation, and one may be lost meanwhile.

    def begin_pause(self) -> None:
        """Begin a pause; all workers have to call this, and then `watch` and `end_pause` in two threads."""
        self._has_to_tell = True

    def end_pause(self) -> None:
        """End the pause of this worker."""
        self._tell(_DONE)

    def watch(self) -> None:
        """Wait until the next worker has ended its pause; a loss is passed on from worker to worker.

        It returns at once if this worker has left.

        Raises:
            WorkerLostError: If another worker was lost.
        """
        said, group = torch.zeros(1, dtype=torch.int64), self.group
        if group is None:
            return  # this worker has left before its thread began to listen
        try:
            with self._ending_others():
                work = dist.irecv(said, group=group, group_src=(self.rank + 1) % self.world, tag=_TAG)
                assert work is not None
                work.wait(_FOR_EVER)  # a pause may take long; gloo tells if a connection ends
                if said == _LOST:
                    raise WorkerLostError(
                        "Another worker was lost while this one exchanged nothing; look for the first error among the "
                        "workers, then start all of them anew from the last checkpoint."
                    )
        except WorkerLostError as error:
            self.lost = error
            self._tell(_LOST)
            raise

    def check(self) -> None:
        """Raise `WorkerLostError` if a worker was lost during a pause."""
        if self.lost is not None:
            raise self.lost

    def _tell(self, what: int) -> None:
        """Tell the worker before this one, which may be lost: once in a pause, as it listens for one message."""
        with self._telling:
            has_to_tell, self._has_to_tell = self._has_to_tell, False
        if has_to_tell and self.group is not None:
            with suppress(RuntimeError):
                said = torch.tensor([what])
                _wait([dist.isend(said, group=self.group, group_dst=(self.rank - 1) % self.world, tag=_TAG)])

    def leave(self) -> None:
        """Destroy the group; workers that wait for this one end with an error."""
        self._tell(_LOST)  # in a pause its own waiting keeps the connections open
        if self.group is not None and dist.is_initialized():
            dist.destroy_process_group(self.group)
        self.group = None


@contextmanager
def lost_workers() -> Iterator[None]:
    """Raise an error of one sentence if another worker is lost, in place of a backend's error about its sockets.

    Raises:
        WorkerLostError: In place of an error of a backend; other errors stay as they are.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_of_a_collective(error):
            raise
        text = str(error).lower()
        reason = next((sign for sign in _SIGNS if sign in text), "no connection")
        raise WorkerLostError(
            f"Another worker has ended or stopped answering ({reason}); look for the first error among the workers, "
            "or for one that took fewer steps, then start all of them anew from the last checkpoint; if one was only "
            "slow, raise timeout."
        ) from error


# Gloo raises plain errors: they name a line of its source, or contain this text after a timeout.
_OF_GLOO = ("/gloo/", "Application timeout caused pair closure")
# The first of these texts that an error contains is named as the reason.
_SIGNS = (
    "connection closed by peer",
    "connection reset by peer",
    "connection was likely closed",
    "broken pipe",
    "timed out",
    "timeout",
    "socket",
    "gloo",
    "nccl",
    "aborted",
    "shut down",
    "process group",
)


def is_of_a_collective(error: BaseException) -> bool:
    """True if an error is that of a collective: other workers cannot be reached."""
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in _OF_GLOO)
