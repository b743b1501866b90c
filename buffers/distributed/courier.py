"""Bring the rows that are drawn to the workers that draw them."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from redwood.buffers.buffer import RehearsalBuffer
from redwood.buffers.distributed.accounts import Accounts
from redwood.buffers.distributed.peers import Peers
from redwood.buffers.distributed.plan import ExchangePlan
from redwood.buffers.layout import WORD
from redwood.buffers.storage import RowStorage


class Delivery(NamedTuple):
    """Rows that were drawn.

    Attributes:
        rows: The rows (r, words); their memory is used again two steps later.
        ready: On a GPU: what a stream has to wait for before it uses them.
    """

    rows: Tensor
    ready: torch.cuda.Event | None


class Courier:
    """Gathers rows that others draw, exchanges them, and puts those together that this worker draws.

    There are two memories to receive into, used in turn: the rows of one step are trained on while those of the next
    one come in. Where training is on a GPU, everything there happens on a stream of its own.
    """

    def __init__(self, peers: Peers, device: torch.device, accounts: Accounts, group: ProcessGroup | None) -> None:
        """Serve one worker.

        Args:
            peers: The workers.
            device: Where the rows are wanted.
            accounts: Where times are noted.
            group: Exchange rows on the GPU in this NCCL group, from the thread that trains; None: on the host.
        """
        self._peers, self._device, self._accounts, self._group = peers, device, accounts, group
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._wanted: list[_Memory] = [_Memory(device), _Memory(device)]
        self._used: list[torch.cuda.Event | None] = [None, None]
        self._turn = 0
        self._to_send: _Memory | None = None  # on the device of the storage
        self._post: tuple[_Memory, _Memory] | None = None  # sent and received on the host, if the storage is elsewhere

    def deliver(self, buffer: RehearsalBuffer, plan: ExchangePlan, *, again: bool = False) -> Delivery:
        """Exchange rows as planned; every worker has to call this.

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
            buffer.drawn(torch.cat([send, own]))
        self._turn = 1 - self._turn
        stream = self._stream
        with nullcontext() if stream is None else torch.cuda.stream(stream):
            if stream is not None and (used := self._used[self._turn]) is not None:
                stream.wait_event(used)
            rows = self._rows(buffer.open_rows, plan, send, own)
            ready = stream.record_event() if stream is not None else None
        return Delivery(rows, ready)

    def receive(self, delivery: Delivery) -> Tensor:
        """The rows of the latest delivery, for the current stream of the thread that trains."""
        if delivery.ready is not None:
            stream = torch.cuda.current_stream(self._device)
            # All work on the rows before these is on the stream by now; their memory is the next to be used.
            self._used[1 - self._turn] = stream.record_event()
            stream.wait_event(delivery.ready)
        return delivery.rows

    def sees(self, leaves: list[Tensor], arrived: torch.cuda.Event | None) -> AbstractContextManager[Any]:
        """A context in which samples (B, ...) of the thread that trains may be copied, once they have arrived."""
        if self._stream is None:
            return nullcontext()
        if arrived is not None:
            self._stream.wait_event(arrived)
            for leaf in leaves:
                if leaf.is_cuda:
                    leaf.record_stream(self._stream)
        return torch.cuda.stream(self._stream)

    def _rows(self, storage: RowStorage, plan: ExchangePlan, send: Tensor, own: Tensor) -> Tensor:
        words = storage.layout.words
        n_received, n_own = sum(plan.recv_splits), len(own)
        with self._accounts.clock("gather"):
            self._to_send = self._to_send or _Memory(storage.device)
            to_send = self._to_send.rows(len(send), words)
            storage.gather(send, to_send)
        wanted = self._wanted[self._turn].rows(n_received + n_own, words)
        direct = storage.device == self._device
        # Storage on the host and training on a GPU: what is drawn is put together on the host, and copied once.
        place = wanted if direct else self._posted(0).rows(n_received + n_own, words)
        with self._accounts.clock("exchange"):
            self._exchange(place[:n_received], to_send, plan)
        with self._accounts.clock("gather"):
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
        """Host memory next to a GPU; what was copied from it before has arrived."""
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
        """Memory (n, words), with what was there before."""
        if n * words > len(self._words):
            # Some more than is needed: how many rows others draw here changes from step to step.
            size = n * words * 5 // 4
            self._words = torch.empty(size, dtype=WORD, device=self._device, pin_memory=self._pinned)
        return self._words[: n * words].view(n, words)
