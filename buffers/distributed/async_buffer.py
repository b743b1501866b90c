"""Which policies and samplers can serve several workers."""

from copy import copy
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from redwood.buffers.buffer import RehearsalBuffer
from redwood.buffers.component import component_class
from redwood.buffers.distributed.peers import Peers, place_in
from redwood.buffers.distributed.pipeline import Decision, DrawSettings, Pipeline, Request
from redwood.buffers.distributed.profiling import Profiler
from redwood.buffers.distributed.row_exchange import ExchangePlan, FetchedRows
from redwood.buffers.distributed.worker_thread import Job
from redwood.buffers.policies import POLICIES, PerClassRandom, Policy
from redwood.buffers.randomness import CounterRandom, derive_key
from redwood.buffers.samplers import SAMPLERS, Sampler
from redwood.buffers.tiers import indexed, resolve
from redwood.core.errors import BufferInputError

# What can be known of a sample before it is trained on.
_KNOWN = frozenset({"labels", "tasks"})


def make_policy(policy: Policy | str | None, candidates: int | None) -> Policy | str:
    """The policy that was asked for.

    Args:
        policy: A new policy, the name of one, or None.
        candidates: Instead: the candidates c of `per_class_random`.

    Raises:
        ValueError: If both are given, or the policy has to be told what is only known after the forward pass.
    """
    if candidates is not None:
        if policy is not None:
            raise BufferInputError(
                f"candidates={candidates} chooses the policy per_class_random; leave out policy={policy!r}."
            )
        return PerClassRandom(candidates)
    if policy is None:
        return "reservoir"
    check_policy(policy)
    return policy


def check_policy(policy: Policy | str) -> None:
    """Raise `ValueError` if there is no such policy, or it has to be told what is only known after the forward pass."""
    kind = component_class(policy, POLICIES, "policy")
    if not kind.needs <= _KNOWN:
        fit = ", ".join(name for name, known in POLICIES.items() if known.needs <= _KNOWN)
        raise BufferInputError(
            f"The policy {kind.__name__} has to be told {' and '.join(sorted(kind.needs - _KNOWN))}, which are only "
            f"known once it is too late to hide an exchange; choose one of {fit}."
        )


def check_sampler(sampler: Sampler | str) -> None:
    """Raise `ValueError` if there is no such sampler, or if it cannot draw from several workers' buffers."""
    kind = component_class(sampler, SAMPLERS, "sampler")
    if not kind.shared:
        fit = ", ".join(name for name, known in SAMPLERS.items() if known.shared)
        raise BufferInputError(
            f"The sampler {kind.__name__} looks at stored rows, which other workers have; choose one of {fit}."
        )


class AsyncRehearsalBuffer:
    """Asynchronous distributed rehearsal (Bouvier et al., 2024), for any training loop.

    Every worker keeps a part of the buffer, filled from its share of the stream. In each step a worker gets `replay`
    representatives, drawn uniformly without replacement from what *all* workers stored in the steps before. They are
    prepared while the step before trains: all workers compute the same plan of who draws what from the seed, the number
    of the step and the counts of rows that they exchange, so that no row has to be asked for; one `all_to_all` moves
    the rows. The draw of step t + 1 sees all that came in up to step t.

    Attributes:
        buffer: This worker's part; there is none before `open`.
        profiler: Times, bytes and counts of what was done.

    Example:
        >>> memory = AsyncRehearsalBuffer(100, replay=2)
        >>> memory.open()
        >>> memory.collect() is None
        True
        >>> memory.add({"x": torch.arange(5.0)})
        >>> memory.collect()["x"].shape
        torch.Size([2])
        >>> memory.close()
    """

    buffer: RehearsalBuffer

    def __init__(
        self,
        buffer_size: int,
        *,
        replay: int,
        candidates: int | None = None,
        policy: Policy | str | None = None,
        sampler: Sampler | str = "uniform",
        tier: str = "auto",
        directory: str | None = None,
        seed: int = 0,
        overlap: bool = True,
    ) -> None:
        """Choose the options, which have to be the same on all workers.

        Args:
            buffer_size: Samples stored, over all workers.
            replay: Representatives r that each worker gets in each step.
            candidates: Candidates c of each batch that may replace others of their class (the rule of the paper:
                `per_class_random`); default: as the policy says.
            policy: Which samples are kept: one of `reservoir` (the default), `class_balanced`, `ring`,
                `greedy_balanced`, `per_class_random`, `partitioning`, or a new object of one.
            sampler: What is drawn: `uniform`, `class_balanced`, `task_balanced` or `old_tasks`, or a new object.
            tier: Where rows are kept: `cuda`, `pinned`, `host`, `mmap`, or `auto`, where the training is.
            directory: Folder of the file of the tier `mmap`.
            seed: Seed of all decisions.
            overlap: False: exchange within the step that hands its samples in, with the same results.

        Raises:
            ValueError: If an argument is out of range, or a policy or sampler cannot serve several workers.
        """
        for name, value in (("buffer_size", buffer_size), ("replay", replay)):
            if not hasattr(value, "__index__"):
                raise BufferInputError(f"{name} has to be a whole number, got {value!r}.")
            if value < 1:
                raise BufferInputError(f"{name} has to be at least 1, got {value}.")
        self.buffer_size, self.replay, self.overlap = buffer_size, replay, overlap
        check_sampler(sampler)
        self._policy, self._sampler = make_policy(policy, candidates), sampler
        self._tier, self._directory = tier, directory
        self._draw = _draw_settings(seed, replay)
        self.profiler = Profiler()
        self.peers: Peers | None = None
        self._steps = 0  # handed in so far
        self._decided: Job[Decision] | None = None
        self._planned: Job[ExchangePlan] | None = None
        self._fetched: Job[FetchedRows] | None = None
        self._held: Request | None = None
        self._drawn = torch.zeros(1, dtype=torch.int64)  # rows that each worker replays in this step
        self._is_open = False  # whether it is known how large rows are
        self._refill = False

    # Before and after training.

    def open(
        self,
        group: ProcessGroup | None = None,
        *,
        device: torch.device | str = "cpu",
        rows_group: ProcessGroup | None = None,
        timeout: timedelta | None = None,
    ) -> None:
        """Join the other workers; all of them have to call this, and again after each `close`.

        Args:
            group: The workers; default: all of the run, or this one alone without a process group.
            device: Where training is, and representatives are wanted.
            rows_group: An NCCL group of the same workers to exchange rows in, from the thread that trains, if they are
                on GPUs; default: rows are exchanged on the host, in the background.
            timeout: How long to wait for others; default: as torch's.

        Raises:
            ValueError: If there are more workers than `buffer_size`, or not as many as before, or there is no GPU.
            WorkerLostError: If another worker does not take part.
        """
        device = indexed(torch.device(device))
        if device.type == "cuda" and not torch.cuda.is_available():
            raise BufferInputError(f"device={device} needs a CUDA device, and there is none; choose cpu.")
        self._timeout, self._device = timeout, device
        # Before the workers connect: who is refused and ends must not take the connections of the others along.
        self.prepare(*place_in(group), device)
        peers = Peers(group, timeout, self.profiler)
        # Alone, there is nobody to wait for: a GPU works by itself, and on the host a thread costs more than it hides.
        # Rows that go from the host to a GPU have to be waited for.
        waits = peers.world > 1 or (device.type == "cuda" and not self.on_gpu)
        self._pipeline = Pipeline(
            self.buffer,
            peers,
            self.profiler,
            device=device,
            rows_group=rows_group if self.on_gpu and peers.world > 1 else None,
            overlap=self.overlap and waits,
            timeout=timeout,
        )
        self.peers = peers
        if self._refill:
            self._draw_again()

    def prepare(self, rank: int, world: int, device: torch.device | str) -> None:
        """Make this worker's part of the buffer, if that has not been done yet.

        Raises:
            ValueError: If there are more workers than `buffer_size`, or not as many as before.
        """
        if hasattr(self, "buffer"):
            if len(self._drawn) != world:
                raise BufferInputError(
                    f"This buffer was shared by {len(self._drawn)} workers and now there are {world}."
                )
            return
        if self.buffer_size < world:
            raise BufferInputError(
                f"buffer_size={self.buffer_size} has to be at least the number of workers, {world}; enlarge it."
            )
        share, rest = divmod(self.buffer_size, world)
        tier, _ = resolve(self._tier, torch.device(device))
        self.on_gpu = tier == "cuda"
        self.buffer = RehearsalBuffer(
            share + (rank < rest),
            policy=copy(self._policy),
            sampler=copy(self._sampler),
            tier=tier,
            directory=self._directory,
            seed=derive_key(self._draw.seed, "worker", rank),
        )
        self._drawn = torch.zeros(world, dtype=torch.int64)
        self._rank = rank

    def close(self) -> None:
        """Leave the other workers; what is stored and what was drawn for the next step stay.

        Raises:
            WorkerLostError: If another worker was lost meanwhile.
        """
        if self.peers is None:
            return
        try:
            self.flush()
        finally:
            self.abort()

    def abort(self) -> None:
        """Leave at once, whatever is under way: after an error there may be nobody left to wait for."""
        if self.peers is not None:
            self._pipeline.close()
            self.peers = None
            self.profiler.pause()

    def flush(self) -> None:
        """Wait until all that was handed in is stored, and the next draw is there; then `buffer` can be read.

        On a GPU, what the calling thread launches afterwards waits, not the thread.
        """
        for job in (self._decided, self._planned, self._fetched):
            if job is not None:
                job.result(self._timeout)
        if self._decided is not None:  # on a GPU these jobs have only launched the work
            self._pipeline.settle()

    # A step.

    def collect(self) -> Any:
        """The representatives of this step: a tree of tensors (r, ...), or None if there are none.

        Their memory is used again two steps later. Waits if they are not there yet, and notes how long.

        Raises:
            WorkerLostError: If another worker was lost.
        """
        self.profiler.step_begins()
        if self._fetched is None:
            return None
        with self.profiler.clock("wait"):
            delivery = self._fetched.result(self._timeout)
        assert self._planned is not None
        self._drawn = self._planned.result().drawn
        if not len(delivery.rows):
            return None
        self.profiler.drawn += len(delivery.rows)
        return self._pipeline.receive(delivery)

    def add(self, samples: Any, *, labels: Tensor | None = None, tasks: Tensor | None = None) -> None:
        """Hand in the samples that came in with this step: a tree of tensors (B, ...), as for `RehearsalBuffer.add`.

        They are stored, and the next draw is prepared, while this step trains. Not to be changed in place meanwhile.

        Raises:
            ValueError: If they do not fit to each other or to earlier ones.
        """
        self.propose(samples, labels=labels, tasks=tasks)
        self.write(samples)

    def propose(
        self,
        samples: Any,
        *,
        labels: Tensor | None = None,
        tasks: Tensor | None = None,
        offered: bool = True,
        counted: bool = True,
    ) -> None:
        """First half of `add`, for samples of which some leaves are only known after the forward pass.

        Args:
            samples: The leaves that are known; those that decisions need are among them, or passed.
            labels: See `RehearsalBuffer.add`.
            tasks: Likewise.
            offered: False: the samples are trained on, but not to be stored.
            counted: False: they are not even trained on, and `weight` is 0, whatever is replayed with them.
        """
        request = Request(self._steps, self._drawn, samples, labels, tasks, offered, counted, self._pipeline.mark())
        self._steps += 1
        if self._is_open:
            self._decide(request)
        else:  # the first samples say how large rows are, which the others have to know
            self._held = request

    def write(self, samples: Any) -> None:
        """Second half of `add`: the samples with all leaves."""
        if self._held is not None:
            self._decide(self._held, samples)
            self._held, self._is_open = None, True
        self._transfer(samples)
        assert self._fetched is not None
        if self._fetched.is_over:  # nothing runs in the background: say at once what is wrong
            self._fetched.result()

    def weight(self) -> float:
        """What to multiply this worker's mean loss by, so that the mean over workers is the one over all samples.

        It is N n_i / (n_1 + ... + n_N), n_i being the samples, incoming and replayed ones, that worker i trains on.
        Waits for the others' numbers, and notes how long; alone, it is 1. A loss that may not be finite is not to be
        multiplied by 0, which gives nan: leave its gradients out.
        """
        if self.peers is None or self.peers.world == 1 or self._decided is None:
            return 1.0
        with self.profiler.clock("wait"):
            return self._decided.result(self._timeout).weight

    def _decide(self, request: Request, first: Any = None) -> None:
        self._decided = self._pipeline.decide(request, self._draw, first)
        self._planned = self._pipeline.plan(self._decided, request.step, self._draw)

    def _transfer(self, samples: Any) -> None:
        assert self._decided is not None
        assert self._planned is not None
        self._fetched = self._pipeline.transfer(self._decided, self._planned, samples)

    # Saving it.

    def reset(self) -> None:
        """Start with an empty buffer, as if nothing had come yet."""
        self.flush()
        world, rank = len(self._drawn), self._rank
        del self.buffer
        self._decided = self._planned = self._fetched = self._held = None
        self._steps, self._is_open = 0, False
        self.prepare(rank, world, self._device)
        if self.peers is not None:
            self._pipeline.buffer = self.buffer

    def extra_state(self) -> dict[str, Any]:
        """What a snapshot needs beside this worker's buffer: equal on all workers."""
        return {"steps": self._steps, "seed": self._draw.seed}

    def restore(self, extra: dict[str, Any]) -> None:
        """Go on from what `extra_state` returned, once `buffer` has its state: the draw in flight is prepared again.

        If the buffer is open, all workers have to call this.
        """
        self._steps, self._draw = extra["steps"], _draw_settings(extra["seed"], self.replay)
        self._refill = self._steps > 0
        if self._refill and self.peers is not None:
            self._draw_again()

    def __getstate__(self) -> dict[str, Any]:
        """For pickling: without what is under way, which `open` prepares again."""
        gone = dict.fromkeys(("peers", "_decided", "_planned", "_delivered", "_held"))
        kept = {name: value for name, value in vars(self).items() if name != "_pipeline"}
        return kept | gone | {"_refill": self._steps > 0}

    def _draw_again(self) -> None:
        self._refill = False
        self._is_open = True
        self._decide(Request(self._steps - 1, self._drawn))
        self._transfer(None)


def _draw_settings(seed: int, replay: int) -> DrawSettings:
    return DrawSettings(seed, replay, CounterRandom(seed, "shared draws"))
