"""The exchange of rows, and the memory that the rows go through."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from redwood.buffers.buffer import RehearsalBuffer
from redwood.buffers.distributed.peers import Peers
from redwood.buffers.distributed.profiling import Profiler
from redwood.buffers.layout import WORD
from redwood.buffers.samplers.exchange_plan import ExchangePlan
from redwood.buffers.storage import RowStorage


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
