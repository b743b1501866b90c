"""Bias correction (Wu et al., 2019, "Large Scale Incremental Learning")."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Choice
from redwood.core.seeding import derive_seed, generator
from redwood.core.workers import gather_objects, rank, world_size
from redwood.methods.base import Composition
from redwood.methods.distillation.teacher import Distilling
from redwood.methods.distillation.two_side import TwoSide, new_classes_compete, two_side_loss
from redwood.methods.networks.last_layer import output_layer
from redwood.methods.replay.exemplars import Exemplars
from redwood.methods.replay.replay import add_incoming
from redwood.methods.training.layers import evaluating
from redwood.methods.training.optimizers import OPTIMIZERS, Sgd
from redwood.methods.training.step import Step
from redwood.settings.supervised import SupervisedSetting

LOOKED_AT = 1024  # values of a sample that are hashed
BITS = 30


class HeldOut:
    """A random share of all samples, chosen by a hash of their content.

    So a sample and all its copies are held out in all passes, on all workers and after a resume. No list of them is
    kept.
    """

    def __init__(self, share: float, seed: int) -> None:
        """Hold out about `share` of all samples, others for another seed."""
        self._limit = int(share * 2**BITS)
        self._factors = torch.randint(-(2**62), 2**62, (LOOKED_AT,), generator=generator(seed, "held out")) | 1

    def __call__(self, x: Tensor) -> Tensor:
        """Return a mask (B,), bool, of the held-out samples (B, ...), in their storage dtype; on their device."""
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

    Each class counts alike, however many samples of it there are. A weak penalty, half of (alpha - 1)^2 + beta^2 with
    the weight of one sample, keeps the minimum finite where the classes are separable.

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
        loss.backward()
        return loss

    optimizer.step(objective)
    alpha, beta = (moved.detach() + torch.tensor([1.0, 0.0])).tolist()
    return alpha, beta


@dataclass
class BiC(Distilling, Exemplars):
    """Rehearsal and distillation; after each task the new classes' outputs are corrected by alpha * o + beta.

    The two numbers are fitted, with all else fixed, to samples of old and new classes that were kept aside from
    training (section "bias correction"). A tenth of the stream is never trained on. A class-balanced sample of it is
    stored, as a part of `buffer_size`. The correction is linear, and is put into the network's last layer. So later
    tasks, their teacher included, go on with the corrected outputs, as in the paper. Where new classes do not compete
    with old ones (ids at test, one phase, shared outputs) nothing is kept aside or corrected.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    extends = (TwoSide,)

    optimizer: Choice = OPTIMIZERS.chosen(Sgd(momentum=0.9))  # algorithm that updates the weights
    bias_samples: int = 20  # part of --buffer_size: samples that are not trained on; the correction is fitted to them

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "bias_samples", 1)

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        self._competing = new_classes_compete(setting.assumptions)
        self._check_share()
        super().configure(setting)
        self._layer = output_layer(self.network, setting.observation_space, "bic corrects")
        self._is_held_out = HeldOut(SHARE, derive_seed(setting.seed, "bic"))
        share, rest = divmod(self.bias_samples, world_size())
        capacity = max(1, share + (rank() < rest))
        held_out = self.make_buffer("bias samples", setting.seed, "class_balanced", capacity=capacity)
        self.held_out = self.add_state("held_out", held_out, buffer=True)

    @property
    @override
    def kept_apart(self) -> int:
        return self.bias_samples if self._competing else 0

    def _check_share(self) -> None:
        if self.kept_apart and self.buffer_bytes:
            raise InvalidOptionError(
                "--buffer_bytes does not go with bic, whose --bias_samples are a part of --buffer_size; give that."
            )
        if self.kept_apart >= self.buffer_size:
            raise InvalidOptionError(
                f"--bias_samples {self.bias_samples} are a part of --buffer_size {self.buffer_size}, of which they "
                "leave nothing to replay; give fewer."
            )

    @override
    def augment(self, step: Step) -> None:
        """Set the loss weights of held-out samples to 0, and scale the others so that the mean weight is 1."""
        super().augment(step)
        if self._competing:
            counted = (~self._is_held_out(step.batch.x)).float()
            step.weights = step.weigh(counted * (len(counted) / counted.sum().clamp(min=1)))

    @override
    def loss(self, step: Step) -> Tensor:
        return two_side_loss(super().loss(step), self.distance(step), self.teacher)

    @override
    def after_loss(self, step: Step) -> None:
        super().after_loss(step)
        if self._competing and step.first_pass:
            chosen = self._is_held_out(step.incoming.x)
            add_incoming(self.held_out, step, chosen=chosen, on_gpu=self.is_on_gpu(self.device))

    @override
    def add(self, step: Step) -> None:
        chosen = ~self._is_held_out(step.incoming.x) if self._competing else None
        self.replay.add(step, self.further_leaves(step), chosen)

    @override
    def on_task_end(self, task_id: int | None) -> None:
        """Correct the new classes' outputs; the corrected network is the next task's teacher."""
        old = self.teacher.known
        new = self.teacher.current & ~old
        if self._competing and old.any() and new.any():
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
            return torch.empty(0, self.n_outputs), torch.empty(0, dtype=torch.int64)
        rows = self.held_out.all(device=self.device)
        with evaluating(self.network):
            return self.network(rows["x"]).float().cpu(), rows["y"].cpu()
