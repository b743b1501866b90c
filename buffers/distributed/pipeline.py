"""What happens behind a training step: decide, plan, and bring the rows that are drawn."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from redwood.buffers.buffer import RehearsalBuffer
from redwood.buffers.distributed.count_exchange import CountExchange
from redwood.buffers.distributed.peers import Peers
from redwood.buffers.distributed.profiling import Profiler
from redwood.buffers.distributed.row_exchange import ExchangePlan, FetchedRows, RowExchange, exchange_plan
from redwood.buffers.distributed.worker_thread import Job, WorkerThread
from redwood.buffers.layout import RowLayout
from redwood.buffers.policies import Placement
from redwood.buffers.pytree import flatten
from redwood.buffers.randomness import CounterRandom
from redwood.buffers.samplers.counts import GroupCounts


@dataclass
class DrawSettings:
    """What draws depend on beside the step; the same on all workers.

    Attributes:
        seed: The seed of all decisions.
        replay: Rows that each worker draws.
        random: The numbers that draws are made with.
    """

    seed: int
    replay: int
    random: CounterRandom


@dataclass
class Decision:
    """What was decided in a step, before any row is moved.

    Attributes:
        placement: Which incoming samples are kept; None if none were offered.
        weight: See `AsyncRehearsalBuffer.weight`.
        group_counts: What all workers store from now on.
    """

    placement: Placement | None
    weight: float
    group_counts: GroupCounts


@dataclass
class Request:
    """What a step hands in.

    Attributes:
        step: Number of the step.
        drawn: Rows that each worker replays in this step (N,).
        samples: The incoming samples, as far as they are known; None: there are none.
        labels: Their labels, if these are not among them.
        tasks: Their tasks, likewise.
        is_offered: Whether they are to be stored.
        is_counted: Whether they are trained on.
        begun: On a GPU: what was launched before this step. Rows of earlier draws are no longer used then, and labels
            are there; the forward pass is not part of it, since decisions must not wait for that.
    """

    step: int
    drawn: Tensor
    samples: Any = None
    labels: Tensor | None = None
    tasks: Tensor | None = None
    is_offered: bool = False
    is_counted: bool = True
    begun: torch.cuda.Event | None = None


def _decision_inputs(request: Request) -> list[Tensor]:
    """All tensors that decisions may look at."""
    leaves = [] if request.samples is None else [leaf for _, leaf in flatten(request.samples)]
    return [*leaves, *(told for told in (request.labels, request.tasks) if told is not None)]


class Pipeline:
    """Works off the steps of one worker, one after the other, in the background.

    Each step is three jobs: `decide`, `plan` and `transfer`. The first two need counts alone and can run before the
    forward pass; `transfer` needs the samples with all leaves. Where NCCL exchanges the rows, the thread that trains
    does `transfer`: two threads that issue NCCL's collectives can block each other.

    Attributes:
        buffer: This worker's part of the buffer.
    """

    def __init__(
        self,
        buffer: RehearsalBuffer,
        peers: Peers,
        profiler: Profiler,
        *,
        device: torch.device,
        rows_group: ProcessGroup | None,
        overlap: bool,
        timeout: timedelta | None,
    ) -> None:
        """Serve a worker's part of the buffer; see `AsyncRehearsalBuffer.open` for the other arguments."""
        self.buffer, self._peers, self._profiler, self._timeout = buffer, peers, profiler, timeout
        self._device = device
        self._count_exchange = CountExchange(peers)
        self._row_exchange = RowExchange(peers, device, profiler, rows_group)
        self._transfers_in_caller = rows_group is not None
        self._known_layout: RowLayout | None = None
        self._fingerprint = 0
        self._worker_thread = WorkerThread(threaded=overlap)

    def decide(self, request: Request, draw: DrawSettings, first: Any = None) -> Job[Decision]:
        """Decide what is kept, and tell the others how much there is.

        Args:
            request: What the step hands in.
            draw: What a draw depends on beside its step.
            first: In the first step: samples with all leaves, which say how large rows are.
        """

        def work() -> Decision:
            with self._row_exchange.on_stream():
                self._row_exchange.wait_for(request.begun, _decision_inputs(request))
                return self._decide(request, draw, first)

        return self._worker_thread.submit(work)

    def _decide(self, request: Request, draw: DrawSettings, first: Any) -> Decision:
        if first is not None:
            self.buffer.open(first)
        with self._profiler.clock("insert"):
            placement, n = self._placement(request)
        sampler, rank = self.buffer.sampler, self._peers.rank
        with self._profiler.clock("counts"):
            # Repeated samples are taken off what is replayed with them, so that this worker's part of all is none.
            incoming = n if request.is_counted else -int(request.drawn[rank])
            groups = sampler.group_counts(len(self.buffer))
            account = self._count_exchange.exchange(self._kind_of_rows(draw), incoming, sampler.current, groups)
        sizes = (account.incoming + request.drawn).tolist()
        weight = self._peers.world * sizes[rank] / (sum(sizes) or 1)
        return Decision(placement, weight, account.group_counts)

    def plan(self, decided: Job[Decision], step: int, draw: DrawSettings) -> Job[ExchangePlan]:
        """Plan who draws what of what all workers store now, and find this worker's part."""

        def work() -> ExchangePlan:
            group_counts = decided.result().group_counts
            with self._profiler.clock("plan"):
                draws = self.buffer.sampler.plan(draw.random, step, draw.replay, group_counts)
                return exchange_plan(draws, self._peers.rank, self._peers.world)

        return self._worker_thread.submit(work)

    def _placement(self, request: Request) -> tuple[Placement | None, int]:
        """What is kept of the incoming samples, and how many these are."""
        if request.samples is None:
            return None, 0
        info = self.buffer.candidate_info(request.samples, labels=request.labels, tasks=request.tasks)
        if request.is_offered and info.n:
            return self.buffer.propose(info), info.n
        if info.tasks is not None:
            self.buffer.sampler.on_incoming(info.tasks)
        return None, info.n

    def _kind_of_rows(self, draw: DrawSettings) -> int:
        """A number that workers agree in if they store the same rows and draw them in the same way."""
        layout = self.buffer.open_rows.layout
        if layout is not self._known_layout:
            leaves = [(leaf.path, leaf.shape, str(leaf.dtype)) for leaf in layout.leaves]
            told = repr((leaves, draw.seed, draw.replay, type(self.buffer.sampler).__name__))
            self._known_layout = layout
            self._fingerprint = int.from_bytes(hashlib.blake2b(told.encode(), digest_size=7).digest())
        return self._fingerprint

    def transfer(self, decided: Job[Decision], planned: Job[ExchangePlan], samples: Any) -> Job[FetchedRows]:
        """Store the samples that were decided to be kept, and bring those that are drawn.

        Args:
            decided: What was decided.
            planned: What was planned.
            samples: The samples with all leaves; None: the draw has been counted before, and is made again.
        """
        work = self._transfer_job(decided, planned, samples)
        if not self._transfers_in_caller:
            return self._worker_thread.submit(work)
        with self._profiler.clock("wait"):
            planned.result(self._timeout)
        job = Job(work)
        job.run()
        return job

    def _transfer_job(
        self, decided: Job[Decision], planned: Job[ExchangePlan], samples: Any
    ) -> Callable[[], FetchedRows]:
        leaves = [] if samples is None else [leaf for _, leaf in flatten(samples)]
        arrived = self._row_exchange.mark()

        def work() -> FetchedRows:
            decision, plan = decided.result(), planned.result()
            with self._row_exchange.on_stream():
                if samples is None:  # the thread that trains has restored the rows
                    self._row_exchange.wait_for(arrived)
                else:
                    self.buffer.open(samples)
                if decision.placement is not None:
                    with self._profiler.clock("insert"):
                        self._row_exchange.wait_for(arrived, leaves)
                        self.buffer.write(samples, decision.placement)
                return self._row_exchange.fetch(self.buffer, plan, again=samples is None)

        return work

    def receive(self, delivery: FetchedRows) -> Any:
        """The samples of the latest delivery, for the thread that trains: a tree of tensors (r, ...)."""
        return self.buffer.open_rows.layout.typed(self._row_exchange.receive(delivery))

    def mark(self) -> torch.cuda.Event | None:
        """What the thread that trains has launched on a GPU so far."""
        return self._row_exchange.mark()

    def settle(self) -> None:
        """Let stored rows be read or replaced by the thread that trains, once all jobs are over."""
        self._row_exchange.settle()

    def close(self) -> None:
        """Let the background end, and leave the other workers."""
        self._worker_thread.close()
        self._peers.leave()
