"""The work behind a training step: decide which samples to keep, plan the next draw, and fetch its rows."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from redwood.buffers.buffer import RehearsalBuffer
from redwood.buffers.distributed.count_exchange import CountExchange
from redwood.buffers.distributed.device_lane import DeviceLane
from redwood.buffers.distributed.peers import Peers
from redwood.buffers.distributed.profiling import Profiler
from redwood.buffers.distributed.row_exchange import FetchedRows, RowExchange
from redwood.buffers.distributed.worker_thread import Job, WorkerThread
from redwood.buffers.layout import RowLayout
from redwood.buffers.policies import Placement
from redwood.buffers.pytree import Tree, flatten
from redwood.buffers.randomness import CounterRandom
from redwood.buffers.samplers.counts import GroupCounts
from redwood.buffers.samplers.exchange_plan import ExchangePlan


@dataclass
class DrawSettings:
    """Draws depend on these and on the number of the step; they are the same on all workers.

    Attributes:
        seed: The seed of all decisions.
        replay: Rows that each worker draws.
        random: The random numbers of the draws.
    """

    seed: int
    replay: int
    random: CounterRandom

    @classmethod
    def of(cls, seed: int, replay: int) -> Self:
        """The settings of a seed."""
        return cls(seed, replay, CounterRandom(seed, "shared draws"))


@dataclass
class Decision:
    """The decisions of a step, made before any row is transferred.

    Attributes:
        placement: The incoming samples to keep, and their slots; None if no sample is to be stored.
        weight: See `AsyncRehearsalBuffer.weight`.
        group_counts: Number of rows that each worker stores from now on.
        ends: See `AsyncRehearsalBuffer.ends`.
    """

    placement: Placement | None
    weight: float
    group_counts: GroupCounts
    ends: bool


@dataclass
class Request:
    """The incoming samples of a step.

    Attributes:
        step: Number of the step.
        drawn: Number of rows that each worker replays in this step (N,).
        samples: The incoming samples, with the leaves that are known; None if there are no samples.
        labels: Their labels, if no leaf holds them.
        tasks: Their tasks, likewise.
        is_offered: Whether they are to be stored.
        is_counted: Whether they are trained on.
        asks_for_end: See `AsyncRehearsalBuffer.asks_for_end`.
        begun: The `DeviceLane.mark` of the start of the step. Rows of earlier draws are no longer used then, and labels
            are there. The forward pass comes after it: decisions must not wait for that.
    """

    step: int
    drawn: Tensor
    samples: Tree = None
    labels: Tensor | None = None
    tasks: Tensor | None = None
    is_offered: bool = False
    is_counted: bool = True
    asks_for_end: bool = False
    begun: torch.cuda.Event | None = None


def _decision_inputs(request: Request) -> list[Tensor]:
    """All tensors that decisions may read."""
    leaves = [] if request.samples is None else [leaf for _, leaf in flatten(request.samples)]
    return [*leaves, *(known for known in (request.labels, request.tasks) if known is not None)]


class Pipeline:
    """Does the work behind the training steps of one worker, step by step, in a thread of its own.

    Each step is three jobs: `prepare` starts two, which decide and plan by counts alone; `transfer` needs the samples
    with all leaves. On a GPU their work is put behind a mark of the start of the step, so that it runs beside
    the forward and backward pass. Where NCCL exchanges the rows, `transfer` waits for `launch`, by the thread that
    trains: two threads that issue NCCL's collectives can block each other.

    Attributes:
        buffer: This worker's part of the buffer.
    """

    def __init__(
        self,
        buffer: RehearsalBuffer,
        peers: Peers,
        profiler: Profiler,
        *,
        lane: DeviceLane,
        rows_group: ProcessGroup | None,
        overlap: bool,
        threaded: bool,
        timeout: timedelta | None,
    ) -> None:
        """Serve a worker's part of the buffer; see `AsyncRehearsalBuffer.open` for the other arguments."""
        self.buffer, self._peers, self._profiler, self._timeout = buffer, peers, profiler, timeout
        self._lane = lane
        self._count_exchange = CountExchange(peers)
        self._row_exchange = RowExchange(peers, lane, profiler, rows_group)
        self._is_launched_by_caller, self._overlap = rows_group is not None, overlap
        self._to_launch: tuple[Job[ExchangePlan], Job[FetchedRows]] | None = None
        self._known_layout: RowLayout | None = None
        self._fingerprint = 0
        self._worker_thread = WorkerThread(threaded=overlap and threaded)

    def reserve(self, replay: int) -> None:
        """Allocate the memory for draws of `replay` rows, once there are rows."""
        self._row_exchange.reserve(self.buffer.rows, replay)

    def exchange_in(self, group: ProcessGroup | None) -> None:
        """Exchange rows in this NCCL group from now on; None: on the host, in the background."""
        self._row_exchange.exchange_in(group)
        self._is_launched_by_caller = group is not None

    def prepare(
        self, request: Request, draw: DrawSettings, first: Tree = None
    ) -> tuple[Job[Decision], Job[ExchangePlan]]:
        """Decide which samples to keep, exchange counts of rows with the other workers, and plan the next draw.

        Args:
            request: The incoming samples of the step.
            draw: Settings of the draws.
            first: In the first step: the samples with all leaves, from which the layout of a row follows.

        Returns:
            The decisions, and this worker's part of the plan.
        """

        def decide() -> Decision:
            with self._lane.enter(request.begun, _decision_inputs(request)):
                return self._decide(request, draw, first)

        decided = Job(decide)
        planned = Job(lambda: self._plan(decided.result(), request.step, draw))
        self._worker_thread.run(decided, planned)
        return decided, planned

    def _decide(self, request: Request, draw: DrawSettings, first: Tree) -> Decision:
        if first is not None:
            self.buffer.ensure_rows(first)
        with self._profiler.clock("insert"):
            placement, n = self._placement(request)
        sampler, rank = self.buffer.sampler, self._peers.rank
        with self._profiler.clock("counts"):
            # A repeated batch has weight 0, including the samples replayed with it.
            incoming = n if request.is_counted else -int(request.drawn[rank])
            groups = sampler.group_counts(len(self.buffer))
            kind = self._kind_of_rows(draw)
            counts = self._count_exchange.exchange(kind, incoming, sampler.current, groups, ends=request.asks_for_end)
        sizes = (counts.incoming + request.drawn).tolist()
        weight = self._peers.world * sizes[rank] / (sum(sizes) or 1)
        return Decision(placement, weight, counts.group_counts, counts.ends)

    def _plan(self, decision: Decision, step: int, draw: DrawSettings) -> ExchangePlan:
        with self._profiler.clock("plan"):
            sampler, rank = self.buffer.sampler, self._peers.rank
            return sampler.part(draw.random, step, draw.replay, decision.group_counts, rank)

    def _placement(self, request: Request) -> tuple[Placement | None, int]:
        """The placement of the incoming samples, and their number."""
        if request.samples is None:
            return None, 0
        info = self.buffer.candidate_info(request.samples, labels=request.labels, tasks=request.tasks)
        if request.is_offered and info.n:
            return self.buffer.propose(info), info.n
        if info.tasks is not None:
            self.buffer.sampler.on_incoming(info.tasks)
        return None, info.n

    def _kind_of_rows(self, draw: DrawSettings) -> int:
        """A number that is equal on workers that store rows of the same layout and draw them in the same way."""
        layout = self.buffer.rows.layout
        if layout is not self._known_layout:
            leaves = [(leaf.path, leaf.shape, str(leaf.dtype)) for leaf in layout.leaves]
            text = repr((leaves, draw.seed, draw.replay, type(self.buffer.sampler).__name__))
            self._known_layout = layout
            self._fingerprint = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest())
        return self._fingerprint

    def transfer(self, decided: Job[Decision], planned: Job[ExchangePlan], samples: Tree) -> Job[FetchedRows]:
        """Write the samples to keep, and fetch the rows that are drawn: in the background, or in `launch`.

        Args:
            decided: The decisions of the step.
            planned: This worker's part of the plan.
            samples: The samples with all leaves; None: the draw has been counted before, and is made again.
        """
        work = self._transfer_job(decided, planned, samples)
        if not self._is_launched_by_caller:
            return self._worker_thread.submit(work)
        job = Job(work)
        self._to_launch = planned, job
        if not self._overlap:
            self.launch()
        return job

    def launch(self) -> None:
        """Do the latest `transfer`, if it was left to this thread.

        NCCL runs its collectives in the order in which they are launched: all workers have to call this at one place.
        """
        waiting, self._to_launch = self._to_launch, None
        if waiting is None:
            return
        planned, job = waiting
        with self._profiler.clock("wait"):
            planned.result(self._timeout)
        job.run()

    def _transfer_job(
        self, decided: Job[Decision], planned: Job[ExchangePlan], samples: Tree
    ) -> Callable[[], FetchedRows]:
        written = self._lane.mark()

        def work() -> FetchedRows:
            decision, plan = decided.result(), planned.result()
            leaves = [] if samples is None else [leaf for _, leaf in flatten(samples)]
            with self._lane.enter(written, () if decision.placement is None else leaves):
                if samples is not None:
                    self.buffer.ensure_rows(samples)
                if decision.placement is not None:
                    with self._profiler.clock("insert"):
                        self.buffer.write(samples, decision.placement)
                return self._row_exchange.fetch(self.buffer, plan, again=samples is None)

        return work

    def together(self) -> AbstractContextManager[None]:
        """See `WorkerThread.together`."""
        return self._worker_thread.together()

    def begin_pause(self) -> None:
        """Look after the other workers while there is nothing to exchange; all of them have to call this."""
        self._peers.begin_pause()
        self._worker_thread.submit(self._peers.watch)

    def receive(self, fetched: FetchedRows) -> Tree:
        """The samples fetched last, for the thread that trains: a tree of tensors (r, ...)."""
        self._lane.leave(fetched.done, fetched.rows)
        return fetched.samples

    def close(self) -> None:
        """End the thread, and leave the other workers."""
        self._to_launch = None
        self._worker_thread.close()
        self._peers.leave()
