"""The rehearsal buffer of several workers, for any training loop."""

from contextlib import AbstractContextManager
from copy import copy
from datetime import timedelta

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.constants import default_pg_timeout

from redwood.buffers.buffer import RehearsalBuffer
from redwood.buffers.distributed import components
from redwood.buffers.distributed.device_lane import DeviceLane
from redwood.buffers.distributed.peers import Peers, abort_nccl, place_in
from redwood.buffers.distributed.pipeline import Decision, DrawSettings, Pipeline, Request
from redwood.buffers.distributed.profiling import Profiler
from redwood.buffers.distributed.row_exchange import FetchedRows
from redwood.buffers.distributed.worker_thread import Job
from redwood.buffers.in_place import Unchanged
from redwood.buffers.memory_plan import AutomaticTier
from redwood.buffers.merging import copied, merged
from redwood.buffers.policies import Policy
from redwood.buffers.pytree import Tree
from redwood.buffers.randomness import derive_key
from redwood.buffers.samplers import Sampler
from redwood.buffers.samplers.exchange_plan import ExchangePlan
from redwood.buffers.shared.rows import SharedRows
from redwood.buffers.tiers import indexed, resolve
from redwood.core.errors import BufferInputError
from redwood.core.state import State

# The tier of rows that outlive their worker.
SHARED = "shared"


class AsyncRehearsalBuffer:
    """Asynchronous distributed rehearsal (Bouvier et al., 2024), for any training loop.

    Every worker keeps a part of the buffer, filled from its share of the stream. In each step a worker gets `replay`
    samples, drawn uniformly without replacement from the samples that *all* workers stored in the steps before.

    The next draw is prepared while a step trains. All workers exchange their counts of rows. From these, the seed and
    the number of the step each worker computes the same plan: which worker draws which rows. So no worker has to ask
    for a row, and one `all_to_all` moves all rows. The draw of step t + 1 sees all samples that came in up to step t.

    Attributes:
        buffer: This worker's part; there is none before `open`.
        rank: Number of this worker, from 0; there is none before `open`.
        profiler: Times, bytes and counts of the parts of a step.
        peers: The workers, between `open` and `close`.
        tier: Where rows are kept.
        asks_for_end: Set it to have all workers end after the same step: the next one that it can be told in.
        on_gpu: Whether samples are stored on the GPU, and best handed in there.
        is_marked: Whether checkpoints name the states of rows that can be brought back; the strategies' do.

    Examples:
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
    rank: int

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
            replay: Samples r that each worker replays in each step.
            candidates: Candidates c of each batch that may replace others of their class (the rule of the paper:
                `per_class_random`); default: as the policy says.
            policy: Chooses the samples to keep: one of `reservoir` (the default), `class_balanced`, `ring`,
                `greedy_balanced`, `per_class_random`, `partitioning`, or a new object of one.
            sampler: Chooses the rows: `uniform`, `class_balanced`, `task_balanced`, `old_tasks` or a new object.
            tier: Where rows are kept: `cuda`, `pinned`, `host`, `mmap`, `shared` (in shared memory, where workers that
                torchrun starts again find them), or `auto`, where the training is.
            directory: Folder of the files of the tiers `mmap` and `shared`.
            seed: Seed of all decisions.
            overlap: False: exchange within the step that adds its samples, with the same results.

        Raises:
            ValueError: If an argument is out of range, or a policy or sampler cannot serve several workers.
        """
        components.check_sizes(buffer_size=buffer_size, replay=replay)
        self.buffer_size, self.replay, self.overlap = buffer_size, replay, overlap
        components.check_sampler(sampler)
        self._policy, self._sampler = components.make_policy(policy, candidates), sampler
        self.tier, self._directory = tier, directory
        self._shared: SharedRows | None = None
        self.is_marked = self.asks_for_end = False
        self._settings = DrawSettings.of(seed, replay)
        self.profiler = Profiler()
        self._lane = DeviceLane(torch.device("cpu"))
        self.peers: Peers | None = None
        self._steps = 0  # steps whose samples were proposed
        self._decided: Job[Decision] | None = None
        self._planned: Job[ExchangePlan] | None = None
        self._fetched: Job[FetchedRows] | None = None
        self._first_request: Request | None = None
        self._written = Unchanged()  # the latest samples, if the background may still read them
        self._drawn = torch.zeros(1, dtype=torch.int64)  # rows that each worker replays in this step
        self._automatic: AutomaticTier | None = None
        self._settles_at: int | None = None  # the step before which rows go where there is room for them
        self._knows_rows = False  # whether all workers know the layout of a row
        self._has_to_redraw = False
        self._is_interrupted = False

    @property
    def world(self) -> int:
        """Number of workers that share the buffer."""
        return len(self._drawn)

    # Before and after training.

    def open(
        self,
        group: ProcessGroup | None = None,
        *,
        device: torch.device | str = "cpu",
        rows_group: ProcessGroup | None = None,
        timeout: timedelta | None = None,
        accumulated: int = 1,
    ) -> None:
        """Join the other workers; all of them have to call this, and again after each `close`.

        Args:
            group: The workers; default: all of the run, or this one alone without a process group.
            device: Where training is, and replayed samples are wanted.
            rows_group: An NCCL group of the same workers to exchange rows in, from the thread that trains, if they are
                on GPUs; default: rows are exchanged on the host, in the background.
            timeout: How long to wait for others; default: as torch's.
            accumulated: Batches whose gradients one step of the optimizer takes.

        Raises:
            ValueError: If there are more workers than `buffer_size`, or not as many as before, or there is no GPU, or
                the tier is `shared` and nothing marks its rows.
            WorkerLostError: If another worker does not take part.
        """
        device = indexed(torch.device(device))
        components.check_place(device, is_unmarked=self.tier == SHARED and not self.is_marked)
        # While a pause ends, no collective runs that has a limit of its own.
        self._timeout, self._accumulated = timeout or default_pg_timeout, accumulated
        # Before the workers connect: a worker that is refused must not end the connections of the others.
        self.prepare(*place_in(group), device)
        peers = Peers(group, timeout, self.profiler, free=None if rows_group is None else abort_nccl)
        self._rows_group = peers.connected(rows_group, device)
        self._pipeline = Pipeline(
            self.buffer,
            peers,
            self.profiler,
            lane=self._lane,
            rows_group=self._rows_group if self._all_on_gpu else None,
            overlap=self.overlap,
            # Alone in host memory, there is nobody to wait for: a thread costs more than it hides.
            threaded=peers.world > 1 or self._lane.is_on_gpu,
            timeout=timeout,
        )
        self.peers = peers
        if self._has_to_redraw:
            self._redraw()

    def prepare(self, rank: int, world: int, device: torch.device | str) -> None:
        """Make this worker's part of the buffer, if that has not been done yet.

        Raises:
            ValueError: If there are more workers than `buffer_size`, or not as many as before.
        """
        self._lane.serve(indexed(torch.device(device)))
        if hasattr(self, "buffer"):
            components.check_world(self.buffer_size, world, before=len(self._drawn))
            return
        components.check_world(self.buffer_size, world)
        share, rest = divmod(self.buffer_size, world)
        if self.tier == SHARED and self._shared is None:
            self._shared = SharedRows.of_this_worker(self._directory)
        tier, _ = resolve("host" if self.tier == SHARED else self.tier, torch.device(device))
        # To receive into two memories; where there are others, twice as much to send from on average.
        staged = self.replay * (2 if world == 1 else 4)
        if self.tier == "auto" and tier == "cuda" and self._automatic is None:
            self._automatic = AutomaticTier(self._lane.device, staged)
        self.on_gpu = self._all_on_gpu = tier == "cuda" and self._automatic is None
        self.buffer = RehearsalBuffer(
            share + (rank < rest),
            policy=copy(self._policy),
            sampler=copy(self._sampler),
            tier=tier,
            directory=self._directory,
            seed=derive_key(self._settings.seed, "worker", rank),
            placing=self._lane.in_turn,
            shared=self._shared,
            choose_tier=self._automatic,
        )
        self._drawn = torch.zeros(world, dtype=torch.int64)
        self.rank = rank

    def close(self) -> None:
        """Leave the other workers; stored samples and the next draw stay.

        Raises:
            WorkerLostError: If another worker was lost meanwhile.
        """
        if self.peers is None:
            return
        try:
            self.flush()
        except BaseException:
            self.abort()
            raise
        self._leave()

    def abort(self) -> None:
        """Leave the other workers at once: after an error there may be nobody left to wait for.

        Some may have stored the latest samples and others not, so that `collect` refuses to go on with this buffer
        until it is reset or restored.
        """
        if self.peers is not None:
            self._is_interrupted = self.peers.world > 1
            self._leave()

    def _leave(self) -> None:
        self._pipeline.close()
        self.peers = None
        self.profiler.pause()

    def flush(self) -> None:
        """Wait until all samples are stored and the next draw is there, on a GPU as well; then `buffer` can be read."""
        if self._decided is None:
            return
        self._pipeline.launch()
        for job in (self._decided, self._planned, self._fetched):
            if job is not None:
                job.result(self._timeout)
        self._lane.flush()  # on a GPU these jobs have only launched the work
        self._written.check()

    # A step.

    def collect(self) -> Tree:
        """The samples to replay in this step: a tree of tensors (r, ...), or None if there are none.

        Their memory is used again two steps later. Waits for them if necessary, and notes how long.

        Raises:
            WorkerLostError: If another worker was lost.
            ValueError: If an error has interrupted the exchange with other workers since the buffer was made or reset,
                or the samples added last were changed in place.
        """
        if self._is_interrupted:
            raise BufferInputError(
                "An error interrupted the exchange of this buffer, so that its workers may differ; go on from a "
                "checkpoint, or call `reset`."
            )
        self.profiler.step_begins()
        if self._fetched is None:
            return None
        self._pipeline.launch()
        with self.profiler.clock("wait"):
            fetched = self._fetched.result(self._timeout)
        self._written.check()
        if self._settles_at is not None and self._steps >= self._settles_at:
            self._settle()
        assert self._planned is not None
        self._drawn = self._planned.result().drawn
        if not len(fetched.rows):
            return None
        self.profiler.drawn += len(fetched.rows)
        return self._pipeline.receive(fetched)

    def add(self, samples: Tree, *, labels: Tensor | None = None, tasks: Tensor | None = None) -> None:
        """Add the incoming samples of this step: a tree of tensors (B, ...), as for `RehearsalBuffer.add`.

        They are stored, and the next draw is prepared, while this step trains. Do not change them in place before the
        next `collect`, which would raise an error.

        Raises:
            ValueError: If they do not fit to each other or to earlier ones.
        """
        with self.together():
            self.propose(samples, labels=labels, tasks=tasks)
            self.write(samples)

    def together(self) -> AbstractContextManager[None]:
        """A context for `propose` and `write` where nothing lies between them: their work begins at its end."""
        return self._pipeline.together()

    def rehearse(self, samples: Tree, *, labels: Tensor | None = None, tasks: Tensor | None = None) -> Tree:
        """The batch to train on in this step: the incoming samples (B, ...), followed by the replayed ones (r, ...).

        `collect` and `add` in one call; see there. The batch has memory of its own, and may be changed in place.
        Multiply its loss by `weight`.

        Raises:
            ValueError: If the samples do not fit to each other or to earlier ones.
            WorkerLostError: If another worker was lost.
        """
        replayed = self.collect()
        batch = copied(samples) if replayed is None else merged(samples, replayed)
        self.add(samples, labels=labels, tasks=tasks)
        return batch

    def propose(
        self,
        samples: Tree,
        *,
        labels: Tensor | None = None,
        tasks: Tensor | None = None,
        offered: bool = True,
        counted: bool = True,
    ) -> None:
        """First half of `add`, for samples of which some leaves are only known after the forward pass.

        Args:
            samples: The leaves that are known. Labels and tasks, if needed, are among them or passed.
            labels: See `RehearsalBuffer.add`.
            tasks: Likewise.
            offered: False: the samples are trained on, but not to be stored.
            counted: False: they are not trained on either. `weight` is 0 then, also for the samples replayed with them.
        """
        flags = offered, counted, self.asks_for_end
        request = Request(self._steps, self._drawn, samples, labels, tasks, *flags, self._lane.mark())
        self._steps += 1
        if self._knows_rows:
            self._decide(request)
        else:  # the workers compare their rows, which are only known once all leaves of the first samples are
            self._first_request = request

    def write(self, samples: Tree) -> None:
        """Second half of `add`: the samples with all leaves.

        The exchange of rows starts behind all work that the caller has launched so far. Where NCCL does it, it is
        launched by the next call of `weight` or `collect`.
        """
        if self._first_request is not None:
            if self._lane.is_on_gpu:
                with self._lane.enter(self._first_request.begun):
                    self.buffer.ensure_rows(samples)
                    self._reserve()
            self._decide(self._first_request, samples)
            self._first_request, self._knows_rows = None, True
        self._transfer(samples)
        assert self._fetched is not None
        self._written = Unchanged(samples)
        if self._fetched.is_over:  # without a thread, an error is raised at once
            self._fetched.result()
            if not self._lane.is_on_gpu:
                self._written = Unchanged()

    def weight(self) -> float:
        """The factor of this worker's mean loss that makes the mean over workers the mean over all samples.

        It is N n_i / (n_1 + ... + n_N), where worker i trains on n_i samples, incoming and replayed ones. One worker
        alone has the factor 1. Waits for the numbers of the other workers, and notes how long. A factor of 0 does not
        help against a loss that is not finite, since 0 * nan is nan: leave its gradients out instead. Call it after the
        forward pass and before the backward pass.
        """
        if self.peers is None or self.peers.world == 1 or self._decided is None:
            return 1.0
        with self.profiler.clock("wait"):
            weight = self._decided.result(self._timeout).weight
        self._pipeline.launch()
        return weight

    @property
    def ends(self) -> bool:
        """True if a worker has asked for the end by the latest step; the same on all workers after the same step.

        Raises:
            WorkerLostError: If another worker was lost.
        """
        return self._decided is not None and self._decided.result(self._timeout).ends

    def begin_pause(self) -> None:
        """Begin a time without steps, such as a validation, in which a lost worker is noticed as well.

        All workers have to call this after the same step, and `end_pause` before the next one.
        """
        if self.peers is not None and self.peers.world > 1:
            self._pipeline.begin_pause()

    def end_pause(self) -> None:
        """End it.

        Raises:
            WorkerLostError: If another worker was lost meanwhile.
        """
        if self.peers is not None and self.peers.world > 1:
            self.peers.end_pause()
            self.peers.check()

    def check_workers(self) -> None:
        """Raise `WorkerLostError` if another worker was lost during a pause."""
        if self.peers is not None:
            self.peers.check()

    def _reserve(self) -> None:
        """Allocate the memory of draws, and agree with the other workers where to exchange rows."""
        assert self.peers is not None
        self._pipeline.reserve(self.replay)
        if self._automatic is None:
            return
        if not self._automatic.is_settled:
            self._settles_at = self._steps + self._accumulated
        self.on_gpu = self.buffer.rows.tier == "cuda"
        self._all_on_gpu = bool(self.peers.gather(torch.tensor([int(self.on_gpu)])).all())
        self._pipeline.exchange_in(self._rows_group if self._all_on_gpu else None)

    def _settle(self) -> None:
        """Move the rows to the tier with room for them, once a full step has shown how much memory training needs."""
        assert self._automatic is not None
        self._settles_at, self._automatic.is_settled = None, True
        self._move_rows(self._automatic(self.buffer.rows.layout, self.buffer.rows.capacity))

    def give_back(self) -> bool:
        """Move the rows from the GPU to the host if the tier is `auto`; True if that has made room there.

        Only a worker that is alone can: others would not know where rows are exchanged.
        """
        if self._automatic is None or not self.on_gpu or self.world > 1:
            return False
        self._automatic.told_of_no_room(self.buffer.rows.nbytes)
        self._move_rows("host")
        torch.cuda.empty_cache()
        return True

    def _move_rows(self, tier: str) -> None:
        self.flush()
        self.buffer.move(tier, self._lane.device)
        self._reserve()

    def _decide(self, request: Request, first: Tree = None) -> None:
        self._decided, self._planned = self._pipeline.prepare(request, self._settings, first)

    def _transfer(self, samples: Tree) -> None:
        assert self._decided and self._planned
        self._fetched = self._pipeline.transfer(self._decided, self._planned, samples)

    # Saving it.

    def reset(self) -> None:
        """Start again with an empty buffer."""
        if not self._is_interrupted:
            self.flush()
        world, rank = self.world, self.rank
        del self.buffer
        self._decided = self._planned = self._fetched = self._first_request = None
        self._written = Unchanged()
        self._steps, self._knows_rows, self._is_interrupted, self._settles_at = 0, False, False, None
        self.prepare(rank, world, self._lane.device)
        if self.peers is not None:
            self._pipeline.buffer = self.buffer

    def extra_state(self) -> State:
        """The state beside this worker's buffer; it is equal on all workers."""
        return {"steps": self._steps, "seed": self._settings.seed}

    def restore(self, extra: State) -> None:
        """Continue from a state of `extra_state`, once `buffer` has its state: the next draw is prepared again.

        Between `open` and `close`, all workers have to call this.
        """
        self._steps, self._settings = extra["steps"], DrawSettings.of(extra["seed"], self.replay)
        self._is_interrupted = False
        self._has_to_redraw = self._steps > 0
        if self._has_to_redraw and self.peers is not None:
            self._redraw()

    def __getstate__(self) -> State:
        """The state for pickling, without jobs: `open` prepares the next draw again."""
        gone = dict.fromkeys(("peers", "_rows_group", "_decided", "_planned", "_fetched", "_first_request"))
        kept = {name: value for name, value in vars(self).items() if name != "_pipeline"}
        return kept | gone | {"_written": Unchanged(), "_has_to_redraw": self._steps > 0}

    def _redraw(self) -> None:
        self._has_to_redraw = False
        self._knows_rows = True
        if self._lane.is_on_gpu:
            self._reserve()
        self._decide(Request(self._steps - 1, self._drawn, begun=self._lane.mark()))
        self._transfer(None)
