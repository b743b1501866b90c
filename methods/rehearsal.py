"""Experience replay (Chaudhry et al., 2019, "On Tiny Episodic Memories in Continual Learning")."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from redwood.buffers import POLICIES, SAMPLERS, Policy, Sampler
from redwood.methods.buffered import BufferedMethod
from redwood.methods.interference import interference
from redwood.methods.parts import make_part
from redwood.settings.base import Setting
from redwood.settings.batch import Batch
from redwood.settings.checks import check_range
from redwood.settings.continual import ContinualSetting

REFRESH_EVERY = 50

Rows = dict[str, Tensor]


@dataclass
class Rehearsal(BufferedMethod):
    """Train on each mini-batch together with samples drawn from a buffer of the stream so far (Algorithm 1).

    Each sample is offered to the buffer in the first pass of each phase that holds it, so that what is kept does not
    depend on how often the stream is repeated.
    """

    target = ContinualSetting
    offers_repeats: ClassVar[bool] = False  # whether samples are offered to the buffer in later passes, too

    # What is kept: reservoir, class_balanced, ring, greedy_balanced, per_class_random, partitioning, herding or
    # loss_aware; with arguments: per_class_random:candidates=7,quota=24 or partitioning:rho=0.5.
    buffer_policy: str = "reservoir"
    # What is drawn: uniform, class_balanced, task_balanced, old_tasks, mir or grasp; with arguments:
    # mir:candidates=100.
    buffer_sampler: str = "uniform"
    replay_ratio: float = 1.0  # samples drawn from the buffer for each incoming one

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "replay_ratio", 0)
        self.policy()
        self.sampler()

    def policy(self) -> Policy:
        """As the option says."""
        return make_part("buffer_policy", self.buffer_policy, POLICIES)

    def sampler(self) -> Sampler:
        """As the option says."""
        return make_part("buffer_sampler", self.buffer_sampler, SAMPLERS)

    def configure(self, setting: Setting) -> None:
        """Build the network and an empty buffer."""
        super().configure(setting)
        # For subclasses: how many samples came in with the batch that is trained on, and what was drawn for it.
        self.n_incoming = 0
        self.replayed: Rows | None = None
        self._losses: Tensor | None = None

    def augment(self, batch: Batch) -> Batch:
        """The incoming samples, followed by representatives from the buffer."""
        augmented = super().augment(batch)
        self.n_incoming, self._losses = len(batch.y), None
        self.replayed, self._slots = self.draw(batch)
        return augmented if self.replayed is None else self.mix(augmented, self.replayed)

    def mix(self, batch: Batch, replayed: Rows) -> Batch:
        """What to train on: the samples of `batch`, followed by replayed ones."""
        ids = None if batch.task_id is None else torch.cat([batch.task_id, replayed["task_id"]])
        return Batch(torch.cat([batch.x, replayed["x"]]), torch.cat([batch.y, replayed["y"]]), ids)

    def draw(self, batch: Batch) -> tuple[Rows | None, Tensor]:
        """Samples to replay with an incoming batch, by leaf, on the network's device, and their slots (r,)."""
        if not len(self.buffer) or not self.replay_ratio:
            return None, torch.empty(0, dtype=torch.int64)
        if "features" in self.buffer.sampler.needs and self.buffer.n_draws % REFRESH_EVERY == 0:
            self.buffer.refresh(self.stored_features(self.buffer))
        n = min(max(1, round(self.replay_ratio * len(batch.y))), self.buffer.capacity)
        tasks = (self.host_batch or batch).task_id
        slots = self.buffer.draw(n, rate=lambda rows: self._interference(batch, rows), tasks=tasks)
        return (self.buffer.read(slots, device=self.device) if len(slots) else None), slots

    def _interference(self, batch: Batch, rows: Rows) -> Tensor:
        x, y, ids = (rows[leaf].to(self.device) if leaf in rows else None for leaf in Batch._fields)
        assert x is not None
        assert y is not None

        def mask(scores: Tensor, tasks: Tensor | None) -> Tensor:
            return scores if tasks is None else self.heads.mask(scores, tasks)

        return interference(self.network, batch, Batch(x, y, ids), self.lr, mask)

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
                self.buffer.rated(self._slots, replayed)

    def remember(self, batch: Batch) -> None:
        """Offer the incoming samples to the buffer."""
        super().remember(batch)
        if self.phase.train.first_pass or self.offers_repeats:
            self.keep(batch)

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
