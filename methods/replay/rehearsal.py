"""Experience replay (Chaudhry et al., 2019, "On Tiny Episodic Memories in Continual Learning")."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from redwood.buffers import (
    POLICIES,
    SAMPLERS,
    AsyncRehearsalBuffer,
    BufferInputError,
    Policy,
    Sampler,
    StorageError,
    WorkerLostError,
    check_policy,
    check_sampler,
)
from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.core.seeding import derive_seed
from redwood.core.workers import rank, world_size
from redwood.methods.base import Composition
from redwood.methods.replay.buffered import BufferedMethod, make_part
from redwood.methods.replay.interference import interference
from redwood.methods.training.heads import predicts_numbers
from redwood.settings.base import Setting
from redwood.settings.batch import Batch
from redwood.settings.phase import Phase
from redwood.settings.results import Results
from redwood.settings.tree import ContinualSetting

if TYPE_CHECKING:
    from pytorch_lightning.strategies import Strategy


REFRESH_EVERY = 50

Rows = dict[str, Tensor]


def async_option(*, default: bool) -> Any:
    """The field of the option `--async`, which is no name that Python allows."""
    return field(default=default, metadata={"alias": ["--async"]})


@dataclass
class Rehearsal(BufferedMethod):
    """Train on each mini-batch together with samples drawn from a buffer of the stream so far (Algorithm 1).

    Each sample is offered to the buffer in the first pass of each phase that holds it, so that what is kept does not
    depend on how often the stream is repeated.
    """

    target = ContinualSetting
    composition: ClassVar[Composition] = Composition.ANYWHERE
    regression: ClassVar[bool] = True
    offers_repeats: ClassVar[bool] = False  # whether samples are offered to the buffer in later passes, too
    stores_outputs: ClassVar[bool] = False  # whether more is stored than a sample, known only after the forward pass
    draws: ClassVar[int] = 1  # draws per step

    # What is kept: reservoir, class_balanced, ring, greedy_balanced, per_class_random, partitioning, herding or
    # loss_aware; with arguments: per_class_random:candidates=7,quota=24 or partitioning:rho=0.5.
    buffer_policy: str = "reservoir"
    # What is drawn: uniform, class_balanced, task_balanced, old_tasks, mir or grasp; with arguments:
    # mir:candidates=100.
    buffer_sampler: str = "uniform"
    replay_ratio: float = 1.0  # samples drawn from the buffer for each incoming one
    asynchronous: bool = async_option(default=False)  # draw from all workers' buffers, one step ahead

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "replay_ratio", 0)
        self.policy()
        self.sampler()
        if self.asynchronous:
            check_async(self)

    def policy(self) -> Policy:
        """As the option says."""
        return make_part("buffer_policy", self.buffer_policy, POLICIES)

    def sampler(self) -> Sampler:
        """As the option says."""
        return make_part("buffer_sampler", self.buffer_sampler, SAMPLERS)

    def configure(self, setting: Setting) -> None:
        """Build the network and an empty buffer."""
        super().configure(setting)
        self.memory: AsyncRehearsalBuffer | None = None
        if self.asynchronous:
            self.memory = self._shared_memory(setting)
            self.buffer = self.memory.buffer
        # For subclasses: how many samples came in with the batch that is trained on, and what was drawn for it.
        self.n_incoming = 0
        self.replayed: Rows | None = None
        self._losses: Tensor | None = None
        self._saved_apart = False

    def _shared_memory(self, setting: Setting) -> AsyncRehearsalBuffer:
        n = max(1, round(self.replay_ratio * setting.batch_size))  # type: ignore[attr-defined]
        memory = AsyncRehearsalBuffer(
            self.buffer_size,
            replay=self.draws * n,
            policy=self.policy(),
            sampler=self.sampler(),
            tier=self.buffer_tier,
            directory=self.buffer_dir or None,
            seed=derive_seed(setting.seed, "buffer"),
        )
        memory.prepare(rank(), world_size(), self.device)
        return memory

    def strategy(self) -> "Strategy | str":
        """The Lightning strategy of each phase."""
        if self.memory is None:
            return super().strategy()
        from redwood.methods.replay.async_strategy import MethodStrategy

        self._strategy = MethodStrategy(self)
        return self._strategy

    def augment(self, batch: Batch) -> Batch:
        """The incoming samples, followed by representatives from the buffer."""
        augmented = super().augment(batch)
        self.n_incoming, self._losses, self._n_drawn = len(batch.y), None, 0
        self.replayed, self._slots = self.draw(batch)
        return augmented if self.replayed is None else self.mix(augmented, self.replayed)

    def mix(self, batch: Batch, replayed: Rows) -> Batch:
        """What to train on: the samples of `batch`, followed by replayed ones."""
        ids = None if batch.task_id is None else torch.cat([batch.task_id, replayed["task_id"]])
        return Batch(torch.cat([batch.x, replayed["x"]]), torch.cat([batch.y, replayed["y"]]), ids)

    def draw(self, batch: Batch) -> tuple[Rows | None, Tensor]:
        """Samples to replay with an incoming batch, by leaf, on the network's device, and their slots (r,).

        Those that were drawn ahead have none: they are in several workers' buffers.
        """
        if self.memory is not None:
            return self._drawn_ahead(), torch.empty(0, dtype=torch.int64)
        if not len(self.buffer) or not self.replay_ratio:
            return None, torch.empty(0, dtype=torch.int64)
        if "features" in self.buffer.sampler.needs and self.buffer.n_draws % REFRESH_EVERY == 0:
            self.buffer.refresh(self.stored_features(self.buffer))
        n = min(max(1, round(self.replay_ratio * len(batch.y))), self.buffer.capacity)
        tasks = (self.host_batch or batch).task_id
        slots = self.buffer.draw(n, rate=lambda rows: self._interference(batch, rows), tasks=tasks)
        return (self.buffer.read(slots, device=self.device) if len(slots) else None), slots

    def _drawn_ahead(self) -> Rows | None:
        """The next of the draws that this step makes: every so many rows of those that came for all of them."""
        rows, number = self._strategy.replayed, self._n_drawn
        self._n_drawn += 1
        if rows is None or len(rows["y"]) <= number:
            return None
        return {name: leaf[number :: self.draws] for name, leaf in rows.items()}

    def _interference(self, batch: Batch, rows: Rows) -> Tensor:
        x, y, ids = (rows[leaf].to(self.device) if leaf in rows else None for leaf in Batch._fields)
        assert x is not None
        assert y is not None

        def mask(scores: Tensor, tasks: Tensor | None) -> Tensor:
            return scores if tasks is None else self.heads.mask(scores, tasks)

        return interference(self.network, batch, Batch(x, y, ids), self.phase_lr, mask)

    def losses(self, batch: Batch) -> Tensor:
        """The loss of each sample; what is kept may depend on it."""
        losses = super().losses(batch)
        self.note_losses(losses)
        return losses

    def note_losses(self, losses: Tensor) -> None:
        """Tell the buffer's policy, if it asks for them, the losses of the incoming and then of the drawn samples."""
        if "losses" in self.buffer.needs:
            self._losses = losses.detach().cpu()
            replayed = self._losses[self.n_incoming : self.n_incoming + len(self._slots)]
            if len(replayed):
                self.buffer.on_replayed(self._slots, replayed)

    def remember(self, batch: Batch) -> None:
        """Offer the incoming samples to the buffer."""
        super().remember(batch)
        if self.memory is None and self.offers_now():
            self.keep(batch)

    def offers_now(self) -> bool:
        """Whether the incoming samples are offered to the buffer."""
        return self.phase.train.first_pass or self.offers_repeats

    def keep(self, batch: Batch) -> None:
        """Offer the incoming samples to the buffer."""
        told = {}
        if self._losses is not None:
            told["losses"] = self._losses[: self.n_incoming]
        if "features" in self.buffer.policy.needs:
            told["features"] = self.features(batch.x)
        self.store(self.buffer, batch, self.more_leaves(), **told)

    def more_leaves(self) -> Rows:
        """What else to store of the incoming samples of the loss computed last."""
        return {}

    def fit(self, phase: Phase) -> None:
        """Train on one phase."""
        try:
            super().fit(phase)
        except (WorkerLostError, StorageError, BufferInputError) as error:
            raise RedwoodError(str(error)) from error

    def on_finish(self, results: Results) -> None:
        """Let go of the data and of the last phase's strategy."""
        super().on_finish(results)
        self.__dict__.pop("_strategy", None)

    def never_acted(self) -> str | None:
        """Nothing may have been drawn from the buffer."""
        if self.memory is None and not self.buffer.n_draws:
            return f"Nothing was ever replayed, with --replay_ratio {self.replay_ratio}."
        return super().never_acted()

    def inside_state(self) -> dict[str, Any]:
        """The state without a shared buffer, which the strategy saves."""
        self._saved_apart = self.memory is not None
        try:
            return super().inside_state()
        finally:
            self._saved_apart = False

    def buffer_state(self) -> dict[str, Any]:
        """The buffer, and how far draws from all workers' buffers are."""
        if self._saved_apart:
            return {}
        state = super().buffer_state()
        return state if self.memory is None else state | {"memory": self.memory.extra_state()}

    def load_buffer_state(self, state: dict[str, Any]) -> None:
        """Go on with an earlier buffer."""
        if self.memory is None:
            super().load_buffer_state(state)
        elif "memory" in state:
            super().load_buffer_state(state)
            self.memory.restore(state["memory"])
        else:
            self.buffer = self.memory.buffer

    def costs(self) -> dict[str, Any]:
        """The costs of training and of the buffer, and what hiding it behind the training steps took."""
        costs = super().costs()
        if self.memory is None:
            return costs
        profiler = self.memory.profiler
        return costs | {
            "rehearsal": profiler.costs()
            | {
                "stored": len(self.buffer),
                "stored_by_class": {} if predicts_numbers(self.setting.action_space) else self.buffer.class_counts(),
                "timeline": profiler.timeline(),
            }
        }


def check_async(method: Rehearsal) -> None:
    """Refuse options that samples cannot be drawn ahead with.

    Raises:
        InvalidOptionError: It says which.
    """
    if not method.replay_ratio:
        raise InvalidOptionError("--async has nothing to draw with --replay_ratio 0; raise it, or choose finetune.")
    if method.buffer_bytes:
        raise InvalidOptionError("--async needs the number of samples stored; give --buffer_size, not --buffer_bytes.")
    parts: tuple[tuple[str, Callable[[Any], None], Any], ...] = (
        ("buffer_policy", check_policy, method.policy()),
        ("buffer_sampler", check_sampler, method.sampler()),
    )
    for option, check, part in parts:
        try:
            check(part)
        except BufferInputError as error:
            raise InvalidOptionError(
                f"--{option} {getattr(method, option)} does not go with --async: {error}"
            ) from error
