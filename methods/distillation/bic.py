"""Bias correction (Wu et al., 2019, "Large Scale Incremental Learning")."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from redwood.core.checks import check_range
from redwood.core.seeding import derive_seed, generator
from redwood.core.workers import gather_objects, rank, world_size
from redwood.methods.base import Composition
from redwood.methods.distillation.two_side import TwoSide
from redwood.methods.networks.last_layer import output_layer
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.layers import evaluating
from redwood.settings.base import Setting
from redwood.settings.batch import Batch

LOOKED_AT = 1024  # numbers of a sample that decide about it
BITS = 30


class HeldOut:
    """A random share of all samples, told by their content.

    So a sample is held out in all passes, on all workers and after a resume, without a list of those that are; and so
    are all its copies.
    """

    def __init__(self, share: float, seed: int) -> None:
        """Hold out about `share` of all samples, others for another seed."""
        self._limit = int(share * 2**BITS)
        self._factors = torch.randint(-(2**62), 2**62, (LOOKED_AT,), generator=generator(seed, "held out")) | 1

    def __call__(self, x: Tensor) -> Tensor:
        """Which samples (B, ...), in their storage dtype, are held out: (B,), bool, on their device."""
        numbers = x.flatten(1)
        numbers = numbers[:, :: -(-numbers.shape[1] // LOOKED_AT)].contiguous()
        if numbers.is_floating_point():
            numbers = numbers.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[numbers.element_size()])
        self._factors = self._factors.to(x.device)
        mixed = (numbers.long() * self._factors[: numbers.shape[1]]).sum(1)
        # The upper half of a product depends on all bits of its factors.
        mixed = (mixed ^ (mixed >> 32)) * 0x2545F4914F6CDD1D
        held_out: Tensor = (mixed >> 33) & (2**BITS - 1) < self._limit
        return held_out


SHARE = 0.1  # of the stream, as the paper has it


def fit_bias(scores: Tensor, y: Tensor, new: Tensor) -> tuple[float, float]:
    """The alpha and beta for which alpha * score + beta of the new classes gives the least cross-entropy.

    Each class counts alike, however many samples of it there are. Half of (alpha - 1)^2 + beta^2, as much as one
    sample weighs, is added: where the samples can be told apart without a mistake there would be no least.

    Args:
        scores: Of samples that the network was not trained on (n, K).
        y: Their labels (n,).
        new: Which classes are new ones (K,), bool.

    Returns:
        alpha and beta; the problem is convex, and solved to the accuracy of float64.
    """
    scores = scores.double()
    counts = torch.bincount(y, minlength=scores.shape[1])
    weights = 1 / counts[y].double()
    weights *= len(y) / weights.sum()
    moved = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # alpha - 1 and beta
    optimizer = torch.optim.LBFGS([moved], max_iter=100, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        corrected = torch.where(new, (1 + moved[0]) * scores + moved[1], scores)
        losses = F.cross_entropy(corrected, y, reduction="none")
        loss = ((weights * losses).sum() + moved.square().sum() / 2) / len(y)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    alpha, beta = (moved.detach() + torch.tensor([1.0, 0.0])).tolist()
    return alpha, beta


@dataclass
class BiC(TwoSide, Rehearsal):
    """Rehearsal and distillation; after each task the new classes' outputs are corrected by alpha * o + beta.

    The two numbers are fitted, with all else fixed, to samples of old and new classes that were kept aside from
    training (section "bias correction"): a tenth of the stream is never trained on, and a class-balanced sample of it
    is stored. The correction is itself a part of a linear layer, and is put into the network's last one; so later
    tasks, their teacher included, go on with the corrected outputs, as in the paper. Where new classes do not compete
    with old ones (ids at test, one phase, shared outputs) nothing is kept aside or corrected.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE

    momentum: float = 0.9  # momentum of sgd
    bias_samples: int = 20  # samples kept aside from training, over all workers, that the correction is fitted to

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "bias_samples", 1)

    def configure(self, setting: Setting) -> None:
        """Build the network and two empty buffers.

        Raises:
            InvalidOptionError: If the network does not end in a linear layer.
        """
        super().configure(setting)
        self._layer = output_layer(self.network, setting.observation_space, "bic corrects")  # type: ignore[arg-type]
        self._is_held_out = HeldOut(SHARE, derive_seed(setting.seed, "bic"))
        share, rest = divmod(self.bias_samples, world_size())
        self.held_out = self.make_buffer("bias samples", "class_balanced", capacity=max(1, share + (rank() < rest)))

    def augment(self, batch: Batch) -> Batch:
        """Keep some of the incoming samples aside, and see to it that these count nothing in training."""
        augmented = super().augment(batch)
        if self.competing:
            if self.phase.train.first_pass:
                self.store(self.held_out, batch, {})
            counted = (~self._is_held_out(augmented.x)).float()
            self._weights = counted * (len(counted) / counted.sum().clamp(min=1))
        return augmented

    def offer(self, buffer: Any, samples: dict[str, Tensor], **told: Tensor) -> None:
        """Offer samples that are held out to the buffer for these, and others to any other one."""
        if self.competing:
            rows = self._is_held_out(samples["x"])
            rows = rows if buffer is self.held_out else ~rows
            samples = {leaf: values[rows] for leaf, values in samples.items()}
            told = {name: values[rows.to(values.device)] for name, values in told.items()}
        if len(samples["x"]):
            super().offer(buffer, samples, **told)

    def losses(self, batch: Batch) -> Tensor:
        """The loss of each sample; none for those held out, and so much more for the others."""
        losses = super().losses(batch)
        return losses * self._weights if self.competing else losses

    def distances(self, outputs: Tensor, taught: Tensor) -> Tensor:
        """The distance of each sample from the teacher; likewise."""
        distances = super().distances(outputs, taught)
        return distances * self._weights if self.competing else distances

    def on_task_end(self, task_id: int | None) -> None:
        """Correct the new classes' outputs, and keep the network as the next task's teacher."""
        old = self.teacher.known
        new = self.current & ~old
        if self.competing and old.any() and new.any():
            with self.flops.count():
                self._correct(new)
        super().on_task_end(task_id)

    @torch.no_grad()
    def _correct(self, new: Tensor) -> None:
        scores, y = map(torch.cat, zip(*gather_objects(self._held_out_scores()), strict=True))
        if not len(y):
            return
        with torch.enable_grad():
            alpha, beta = fit_bias(scores, y, new)
        rows = new.to(self.device)
        self._layer.weight[rows] *= alpha
        self._layer.bias[rows] = alpha * self._layer.bias[rows] + beta

    def _held_out_scores(self) -> tuple[Tensor, Tensor]:
        """Scores (n, K) and labels (n,) of this worker's samples that were kept aside, on the CPU."""
        if not len(self.held_out):
            return torch.empty(0, len(self.current)), torch.empty(0, dtype=torch.int64)
        rows = self.held_out.all(device=self.device)
        with evaluating(self.network):
            return self.network(rows["x"]).float().cpu(), rows["y"].cpu()

    def state_dict(self) -> dict[str, Any]:
        """The network's state, the teacher's, and both buffers."""
        return super().state_dict() | {"held_out": self.held_out.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        self.load_buffer(self.held_out, state["held_out"])

    def costs(self) -> dict[str, Any]:
        """The costs of rehearsal and of the teacher; the samples kept aside count as buffer."""
        costs = super().costs()
        return costs | {"buffer_bytes": costs["buffer_bytes"] + self.held_out.nbytes}
