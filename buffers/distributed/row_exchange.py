"""The exchange of rows, and the memory that the rows go through."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from redwood.buffers.buffer import RehearsalBuffer
from redwood.buffers.distributed.device_lane import DeviceLane, LaneMemory
from redwood.buffers.distributed.peers import Peers
from redwood.buffers.distributed.profiling import Profiler
from redwood.buffers.pytree import Tree
from redwood.buffers.samplers.exchange_plan import ExchangePlan
from redwood.buffers.storage import RowStorage


class FetchedRows(NamedTuple):
    """Rows that this worker drew.

    Attributes:
        rows: The rows (r, words); their memory is used again two steps later.
        samples: Views of them: a tree of tensors (r, ...).
        done: See `DeviceLane.leave`.
    """

    rows: Tensor
    samples: Tree
    done: torch.cuda.Event | None


class RowExchange:
    """Gathers the rows that other workers draw, exchanges rows, and puts together the rows that this worker draws.

    There are two memories to receive into, used in turn: the rows of one step are trained on while those of the next
    one come in.
    """

    def __init__(self, peers: Peers, lane: DeviceLane, profiler: Profiler, group: ProcessGroup | None) -> None:
        """Serve one worker.

        Args:
            peers: The workers.
            lane: Where rows are wanted, and the order of all work there.
            profiler: Notes times.
            group: Exchange rows on the GPU in this NCCL group, from the thread that trains; None: on the host.
        """
        self._peers, self._lane, self._profiler, self._group = peers, lane, profiler, group
        self._wanted = [LaneMemory(lane, lane.device), LaneMemory(lane, lane.device)]
        self._turn = 0
        self._to_send: LaneMemory | None = None  # on the device of the storage
        # Sent and received on the host next to a GPU.
        host = torch.device("cpu")
        self._post = [LaneMemory(lane, host, pinned=lane.is_on_gpu), LaneMemory(lane, host, pinned=lane.is_on_gpu)]

    def reserve(self, storage: RowStorage, replay: int) -> None:
        """Allocate the memory for draws of `replay` rows at once, and not in some later step.

        A worker sends as many rows as it draws in the mean; there is room for twice as many before more is needed.
        """
        for memory in self._wanted:
            memory.rows(replay, storage.layout.words)
        self._to_send = LaneMemory(self._lane, storage.device)
        if self._peers.world > 1:
            self._to_send.rows(2 * replay, storage.layout.words)

    def exchange_in(self, group: ProcessGroup | None) -> None:
        """Exchange rows in this NCCL group from now on; None: on the host, wherever they are stored."""
        self._group = group

    def fetch(self, buffer: RehearsalBuffer, plan: ExchangePlan, *, again: bool = False) -> FetchedRows:
        """Exchange rows as planned, on the lane; every worker has to call this.

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
        return FetchedRows(rows, buffer.rows.layout.typed(rows), self._lane.done())

    def _rows(self, storage: RowStorage, plan: ExchangePlan, send: Tensor, own: Tensor) -> Tensor:
        words = storage.layout.words
        n_received, n_own = sum(plan.recv_splits), len(own)
        with self._profiler.clock("gather"):
            self._to_send = self._to_send or LaneMemory(self._lane, storage.device)
            to_send = self._to_send.rows(len(send), words)
            storage.gather(send, to_send)
        wanted = self._wanted[self._turn].rows(n_received + n_own, words)
        direct = storage.device == self._lane.device
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
        self._lane.flush()
        self._peers.exchange(there, here, plan.recv_splits, plan.send_splits)
        received.copy_(there, non_blocking=True)

    def _posted(self, index: int) -> LaneMemory:
        """Host memory next to a GPU; earlier copies from it are complete."""
        if index == 0:
            self._lane.flush()
        return self._post[index]
