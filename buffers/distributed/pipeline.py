"""What happens behind a training step: decide, plan, and bring the rows that are drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from redwood.buffers.buffer import RehearsalBuffer
from redwood.buffers.distributed.accounts import Accounts
from redwood.buffers.distributed.background import Background, Job
from redwood.buffers.distributed.courier import Courier, Delivery
from redwood.buffers.distributed.ledger import Ledger
from redwood.buffers.distributed.peers import Peers
from redwood.buffers.distributed.plan import ExchangePlan, exchange_plan
from redwood.buffers.policies import Offer, Placement
from redwood.buffers.randomness import CounterRandom
from redwood.buffers.tree import flatten


@dataclass
class Decision:
    """What was decided in a step, before any row is moved.

    Attributes:
        placement: Which incoming samples are kept; None if none were offered.
        incoming: Samples that each worker trains on beside the replayed ones (N,).
        plan: This worker's part of the next draw.
    """

    placement: Placement | None
    incoming: Tensor
    plan: ExchangePlan


NOTHING = Offer(0)


@dataclass
class Request:
    """What a step hands in.

    Attributes:
        step: Number of the step.
        incoming: Samples that this worker trains on beside the replayed ones.
        offer: What is known of its samples.
        is_offered: Whether they are to be stored.
        fingerprint: Says which kind of rows are stored, and how they are drawn; the same on all workers.
    """

    step: int
    incoming: int = 0
    offer: Offer = NOTHING
    is_offered: bool = False
    fingerprint: int = 0


class Pipeline:
    """Works off the steps of one worker, one after the other, in the background.

    Each step is two jobs: `decide`, which needs nothing but counts and so can run before the forward pass, and `move`,
    which needs the samples with all leaves. Where rows are exchanged by NCCL, `move` is done by the thread that trains:
    two threads that issue its collectives can block each other.

    Attributes:
        buffer: This worker's part of the buffer.
    """

    def __init__(
        self,
        buffer: RehearsalBuffer,
        peers: Peers,
        accounts: Accounts,
        *,
        device: torch.device,
        rows_group: ProcessGroup | None,
        overlap: bool,
        timeout: timedelta | None,
    ) -> None:
        """Serve a worker's part of the buffer; see `AsyncRehearsalBuffer.open` for the other arguments."""
        self.buffer, self._peers, self._accounts, self._timeout = buffer, peers, accounts, timeout
        self._device = device
        self._ledger = Ledger(peers)
        self._courier = Courier(peers, device, accounts, rows_group)
        self._moves_itself = rows_group is not None
        # Alone, there is nobody to wait for: a GPU works by itself, and on the host a thread costs more than it hides.
        self._background = Background(threaded=overlap and peers.world > 1)

    def decide(self, request: Request, random: CounterRandom, replay: int) -> Job[Decision]:
        """Decide what is kept, tell the others how much there is, and plan who draws what."""
        return self._background.submit(lambda: self._decide(request, random, replay))

    def _decide(self, request: Request, random: CounterRandom, replay: int) -> Decision:
        buffer, clock = self.buffer, self._accounts.clock
        sampler, offer = buffer.sampler, request.offer
        placement = None
        with clock("insert"):
            if request.is_offered and offer.n:
                placement = buffer.decide(offer)
            elif offer.tasks is not None:
                sampler.came(offer.tasks)
        with clock("counts"):
            groups = sampler.inventory(len(buffer))
            account = self._ledger.exchange(request.fingerprint, request.incoming, sampler.current, groups)
        with clock("plan"):
            draws = sampler.plan(random, request.step, replay, account.inventory)
            plan = exchange_plan(draws, self._peers.rank, self._peers.world)
        return Decision(placement, account.incoming, plan)

    def move(self, decided: Job[Decision], samples: Any) -> Job[Delivery]:
        """Store the samples that were decided to be kept, and bring those that are drawn.

        Args:
            decided: What was decided.
            samples: The samples with all leaves; None: the draw has been counted before, and is made again.
        """
        work = self._mover(decided, samples)
        if not self._moves_itself:
            return self._background.submit(work)
        with self._accounts.clock("wait"):
            decided.result(self._timeout)
        job = Job(work)
        job.run()
        return job

    def _mover(self, decided: Job[Decision], samples: Any) -> Callable[[], Delivery]:
        leaves = [] if samples is None else [leaf for _, leaf in flatten(samples)]
        arrived = torch.cuda.current_stream(self._device).record_event() if self._device.type == "cuda" else None

        def work() -> Delivery:
            decision = decided.result()
            if decision.placement is not None:
                with self._accounts.clock("insert"), self._courier.sees(leaves, arrived):
                    self.buffer.write(samples, decision.placement)
            return self._courier.deliver(self.buffer, decision.plan, again=samples is None)

        return work

    def receive(self, delivery: Delivery) -> Any:
        """The samples of the latest delivery, for the thread that trains: a tree of tensors (r, ...)."""
        return self.buffer.open_rows.layout.typed(self._courier.receive(delivery))

    def close(self) -> None:
        """Let the background end, and leave the other workers."""
        self._background.close()
        self._peers.leave()
