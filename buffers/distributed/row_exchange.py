"""The exchange of rows: one worker's part of the plan of a draw, and the memory that the rows go through."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from redwood.buffers.buffer import RehearsalBuffer
from redwood.buffers.distributed.peers import Peers
from redwood.buffers.distributed.profiling import Profiler
from redwood.buffers.layout import WORD
from redwood.buffers.randomness import Array, intervals
from redwood.buffers.samplers.counts import Draws
from redwood.buffers.storage import RowStorage


class ExchangePlan(NamedTuple):
    """The rows that one worker sends, receives, and takes from its own buffer.

    Attributes:
        send_groups: Group ids of the rows to send (S,), int64, ordered by the worker that receives them.
        send_numbers: Their numbers (S,), int64, within these groups.
        send_splits: How many go to each of N workers; 0 for this one.
        recv_splits: How many come from each of N workers; 0 for this one.
        own_groups: Group ids of the rows (O,), int64, that this worker draws from its own buffer.
        own_numbers: Their numbers (O,), int64, within these groups.
        drawn: Total number of rows that each worker draws (N,), int64.
    """

    send_groups: Tensor
    send_numbers: Tensor
    send_splits: list[int]
    recv_splits: list[int]
    own_groups: Tensor
    own_numbers: Tensor
    drawn: Tensor


def exchange_plan(draws: Draws, rank: int, world: int) -> ExchangePlan:
    """The part of worker `rank` out of `world`; the parts of all workers fit together.

    Examples:
        >>> import torch
        >>> draws = Draws(torch.tensor([1, 2]), torch.tensor([4, 0, 3]), torch.tensor([7]), torch.tensor([[3], [2]]))
        >>> plan = exchange_plan(draws, 1, 2)
        >>> plan.send_numbers.tolist(), plan.send_splits, plan.recv_splits, plan.own_numbers.tolist()
        ([1], [1, 0], [1, 0], [0])
    """
    rows, counts, groups = draws.rows.numpy(), draws.counts.numpy(), draws.groups.numpy()
    owned, drawn = counts.sum(1).cumsum(0), draws.drawn.numpy().cumsum(0)
    low, start = (int(ends[rank - 1]) if rank else 0 for ends in (owned, drawn))
    asked = np.flatnonzero((rows >= low) & (rows < int(owned[rank])))
    sends = _shares(asked, drawn)
    recvs = _shares(rows[start : int(drawn[rank])].astype(np.int64), owned)
    # The rows that this worker draws from itself are a run among those that it is asked for.
    begin, end = sum(sends[:rank]), sum(sends[: rank + 1])
    sends[rank] = recvs[rank] = 0
    places = rows[asked].astype(np.int64) - low
    ends = counts[rank].cumsum(0)
    cells = intervals(places, ends)
    ids, numbers = groups[cells], places - (ends - counts[rank])[cells]
    return ExchangePlan(
        torch.from_numpy(np.concatenate([ids[:begin], ids[end:]])),
        torch.from_numpy(np.concatenate([numbers[:begin], numbers[end:]])),
        sends,
        recvs,
        torch.from_numpy(ids[begin:end]),
        torch.from_numpy(numbers[begin:end]),
        draws.drawn,
    )


def _shares(values: Array, ends: Array) -> list[int]:
    """The number of integers (m,) in each of consecutive intervals with these ends (N,)."""
    counts: list[int] = np.bincount(intervals(values, ends), minlength=len(ends)).tolist()
    return counts


class FetchedRows(NamedTuple):
    """Rows that this worker drew.

    Attributes:
        rows: The rows (r, words); their memory is used again two steps later.
        ready: On a GPU: an event that a stream has to wait for before it uses the rows.
    """

    rows: Tensor
    ready: torch.cuda.Event | None


class RowExchange:
    """Gathers the rows that other workers draw, exchanges rows, and puts together the rows that this worker draws.

    There are two memories to receive into, used in turn: the rows of one step are trained on while those of the next
    one come in. If training is on a GPU, all work of the exchange is launched there on a side stream. The side stream
    waits for an event of `mark`; the stream that trains waits in `receive` and `settle`.
    """

    def __init__(self, peers: Peers, device: torch.device, profiler: Profiler, group: ProcessGroup | None) -> None:
        """Serve one worker.

        Args:
            peers: The workers.
            device: Where the rows are wanted.
            profiler: Notes times.
            group: Exchange rows on the GPU in this NCCL group, from the thread that trains; None: on the host.
        """
        self._peers, self._device, self._profiler, self._group = peers, device, profiler, group
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            # Rows may have been stored or restored by the thread that opens the buffer.
            self._stream.wait_stream(torch.cuda.current_stream(device))
        self._wanted: list[_Memory] = [_Memory(device), _Memory(device)]
        self._turn = 0
        self._to_send: _Memory | None = None  # on the device of the storage
        self._post: tuple[_Memory, _Memory] | None = None  # sent and received on the host, if the storage is elsewhere

    def fetch(self, buffer: RehearsalBuffer, plan: ExchangePlan, *, again: bool = False) -> FetchedRows:
        """Exchange rows as planned, within `on_stream`; every worker has to call this.

        Before, the side stream has to wait for the steps before the one that trains on the rows fetched last.

        Args:
            buffer: This worker's part.
            plan: Its part of the plan.
            again: Whether these rows have been counted as drawn already.
        """
        send, own = (
            buffer.sampler.locate(groups, numbers)
            for groups, numbers in ((plan.send_groups, plan.send_numbers), (plan.own_groups, plan.own_numbers))
        )
        if not again:
            buffer.count_drawn(torch.cat([send, own]))
        self._turn = 1 - self._turn
        rows = self._rows(buffer.rows, plan, send, own)
        return FetchedRows(rows, self._stream.record_event() if self._stream is not None else None)

    def receive(self, fetched: FetchedRows) -> Tensor:
        """The rows fetched last, for the current stream of the thread that trains."""
        if fetched.ready is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(fetched.ready)
            # The memory may be replaced by a larger one while these rows are still trained on.
            fetched.rows.record_stream(stream)
        return fetched.rows

    def on_stream(self) -> AbstractContextManager[object]:
        """A context in which all work on a GPU is launched on the side stream, and on its GPU of several."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def mark(self) -> torch.cuda.Event | None:
        """An event after all work that the thread that trains has launched so far; None without a GPU."""
        return None if self._stream is None else torch.cuda.current_stream(self._device).record_event()

    def wait_for(self, event: torch.cuda.Event | None, leaves: Iterable[Tensor] = ()) -> None:
        """Let the side stream wait for an event of `mark`; it may then use leaves (B, ...) that were made before."""
        if self._stream is None or event is None:
            return
        self._stream.wait_event(event)
        for leaf in leaves:
            if leaf.is_cuda:
                leaf.record_stream(self._stream)

    def settle(self) -> None:
        """Let the current stream wait for the side stream, so that stored rows can be read or replaced."""
        if self._stream is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def _rows(self, storage: RowStorage, plan: ExchangePlan, send: Tensor, own: Tensor) -> Tensor:
        words = storage.layout.words
        n_received, n_own = sum(plan.recv_splits), len(own)
        with self._profiler.clock("gather"):
            self._to_send = self._to_send or _Memory(storage.device)
            to_send = self._to_send.rows(len(send), words)
            storage.gather(send, to_send)
        wanted = self._wanted[self._turn].rows(n_received + n_own, words)
        direct = storage.device == self._device
        # Storage on the host and training on a GPU: rows are put together on the host, and copied once.
        place = wanted if direct else self._posted(0).rows(n_received + n_own, words)
        with self._profiler.clock("exchange"):
            self._exchange(place[:n_received], to_send, plan)
        with self._profiler.clock("gather"):
            storage.gather(own, place[n_received:])
            if not direct:
                wanted.copy_(place, non_blocking=True)
        return wanted

    def _exchange(self, received: Tensor, sent: Tensor, plan: ExchangePlan) -> None:
        if self._group is not None or not sent.is_cuda or self._peers.world == 1:
            self._peers.exchange(received, sent, plan.recv_splits, plan.send_splits, self._group)
            return
        # Rows on a GPU, exchange on the host: this thread waits for the copy, the one that trains does not.
        there = self._posted(0).rows(len(received), sent.shape[1])
        here = self._posted(1).rows(len(sent), sent.shape[1])
        here.copy_(sent, non_blocking=True)
        torch.cuda.current_stream(self._device).synchronize()
        self._peers.exchange(there, here, plan.recv_splits, plan.send_splits)
        received.copy_(there, non_blocking=True)

    def _posted(self, index: int) -> "_Memory":
        """Host memory next to a GPU; earlier copies from it are complete."""
        if self._post is None:
            self._post = (_Memory(torch.device("cpu"), pinned=True), _Memory(torch.device("cpu"), pinned=True))
        elif index == 0 and self._stream is not None:
            self._stream.synchronize()
        return self._post[index]


class _Memory:
    """Memory for rows that grows when more of them are asked for."""

    def __init__(self, device: torch.device, *, pinned: bool = False) -> None:
        self._device, self._pinned = device, pinned
        self._words = torch.empty(0, dtype=WORD, device=device)

    def rows(self, n: int, words: int) -> Tensor:
        """Memory (n, words); it is not initialised."""
        if n * words > len(self._words):
            # Some more than is needed: how many rows others draw here changes from step to step.
            size = n * words * 5 // 4
            self._words = torch.empty(size, dtype=WORD, device=self._device, pin_memory=self._pinned)
        return self._words[: n * words].view(n, words)
