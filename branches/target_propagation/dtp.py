"""Difference target propagation with the local difference reconstruction loss (Ernoult et al., 2022)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from redwood.branches.target_propagation.feedback import FeedbackMap, FeedbackModule, blocks_of, cut, make_feedback
from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed
from redwood.core.workers import rank
from redwood.methods.base import Composition
from redwood.methods.lightning import LightningMethod
from redwood.methods.training.step import Step
from redwood.settings.supervised import SupervisedSetting


def feedback_loss(
    block: Callable[[Tensor], Tensor],
    feedback: FeedbackMap,
    x: Tensor,
    y: Tensor,
    sigma: float,
    noise: torch.Generator,
) -> Tensor:
    """The local difference reconstruction loss L_i of one draw of noise.

    L_i = mean over samples of -2 <xi, G(F(x + xi)) - G(y)> + |G(y + eta) - G(y)|^2, with normal xi and eta of standard
    deviation sigma. Its expectation is sigma^2 |J_G - J_F^T|^2 (Frobenius norm) and a constant, up to higher powers of
    sigma: it is least where G's Jacobian is the transpose of F's.

    Args:
        block: F; no gradient is taken by its weights.
        feedback: G; the gradient of the loss is taken by its weights.
        x: Inputs of the block (B, ...).
        y: Its outputs F(x) (B, ...).
        sigma: Standard deviation of the noise.
        noise: The generator, on the device of x.

    Returns:
        A scalar; sums over the features of a sample, the mean over samples.
    """
    xi, eta = (sigma * torch.randn(t.shape, generator=noise, device=t.device, dtype=t.dtype) for t in (x, y))
    with torch.no_grad():
        moved = block(x + xi)
    origin = feedback(y)
    return ((feedback(y + eta) - origin).square().sum() - 2 * (xi * (feedback(moved) - origin)).sum()) / len(x)


@torch.no_grad()
def layer_targets(feedbacks: Sequence[FeedbackMap], outputs: Sequence[Tensor], last: Tensor) -> list[Tensor]:
    """The targets t_0 .. t_{N-1} of all blocks: t_{i-1} = h_{i-1} + G_i(t_i) - G_i(h_i).

    Args:
        feedbacks: G_1 .. G_{N-1}.
        outputs: h_0 .. h_{N-1}, each (B, ...).
        last: The target t_{N-1} of the last block (B, K).

    Returns:
        N tensors of the outputs' shapes.
    """
    targets = [last]
    for feedback, lower, upper in zip(feedbacks[::-1], outputs[-2::-1], outputs[:0:-1], strict=True):
        targets.append(lower + feedback(targets[-1]) - feedback(upper))
    return targets[::-1]


def local_losses(outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """1/2 |h_i - t_i|^2 of each block (N,), sums over features and means over samples.

    The gradient by a block's weights trains the block, if its input was cut off from the block below.
    """
    halves = [(h - t).square().sum() / (2 * len(h)) for h, t in zip(outputs, targets, strict=True)]
    return torch.stack(halves)


@dataclass
class DTP(LightningMethod):
    """Train each block of the network towards its own target; no gradient passes from one block to another.

    The target of the last block is its output, moved by beta against the gradient of the loss. Feedback modules map it
    to targets of the other blocks ("Towards Scaling Difference Target Propagation by Learning Backprop Targets"). They
    have their own weights, which are trained on each batch before the blocks are. Their Jacobians approach the
    transposed Jacobians of the blocks. The blocks then move as by backpropagation with the learning rate lr * beta,
    for any loss.

    There is feedback for linear layers, convolutions, ReLU, ELU, max pooling and flattening. Under several workers each
    worker trains its own feedback modules: to average them would take a message in each of their many steps.
    """

    composition: ClassVar[Composition] = Composition.FIRST  # terms that others add to the loss need targets, too
    bars: ClassVar[Mapping[str, str]] = {
        "gates": "as no feedback leads through gates",
        "experts": "as no feedback leads through a choice among experts",
    }

    dtp_beta: float = 0.7  # step from the last block's output to its target, in gradients of the loss
    feedback_steps: int = 10  # training steps of the feedback modules on each batch
    feedback_noise: float = 0.1  # standard deviation of the noise that the feedback modules are trained with
    feedback_lr: float = 0.01  # learning rate of the feedback modules
    feedback_momentum: float = 0.9  # momentum of the feedback modules

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "feedback_steps", 0, 10_000)
        check_range(self, "feedback_lr", 0)
        check_range(self, "feedback_momentum", 0)
        for name in ("dtp_beta", "feedback_noise"):
            check_range(self, name, 0)
            if not getattr(self, name):
                raise InvalidOptionError(f"--{name} 0 leaves nothing to learn from; it has to be greater than 0.")
        if self.dropout:
            raise InvalidOptionError(
                f"--dropout {self.dropout} does not go with target propagation, whose feedback does not know which "
                "units were dropped; use --dropout 0."
            )

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self._blocks = blocks_of(self.network)
        # That of the first block is only made to check its layers: the samples need no target.
        feedback_modules = nn.ModuleList([make_feedback(block) for block in self._blocks][1:]).to(self.device)
        optimizers = [
            torch.optim.SGD(module.parameters(), self.feedback_lr, momentum=self.feedback_momentum)
            for module in feedback_modules
        ]
        self.feedback_modules = self.add_state("feedback_modules", feedback_modules, buffer=True)
        self.optimizers = self.add_state("optimizers", optimizers, buffer=True)
        self.n_batches = self.add_state("n_batches", 0)
        self._noise = torch.Generator(self.device)

    @override
    def loss(self, step: Step) -> Tensor:
        """The loss of the batch; its gradient is replaced by that of the local losses of the blocks."""
        with cut(self.network, self._blocks) as seen:
            loss = super().loss(step)
        errors = torch.autograd.grad(loss, seen.scores, retain_graph=True, materialize_grads=True)
        outputs = [torch.cat(passes) for passes in seen.outputs]
        dtype = next(self.network.parameters()).dtype
        values = [output.detach().to(dtype) for output in outputs]
        # The loss is a mean: the gradient for one sample is larger by the number of samples.
        last = values[-1] - self.dtp_beta * len(values[-1]) * torch.cat(errors).to(dtype)
        self.feedback_modules.to(dtype)
        with torch.autocast(self.device.type, enabled=False):
            targets = layer_targets(self._train_feedback(values), values, last)
        local = local_losses(outputs, targets).sum()
        return loss + (local - local.detach())

    def _train_feedback(self, values: list[Tensor]) -> list[FeedbackMap]:
        """Train the feedback modules on the outputs of the blocks for a batch, and return their maps."""
        self._noise.manual_seed(derive_seed(self.setting.seed, "feedback noise", rank(), self.n_batches))
        self.n_batches += 1
        maps = []
        for number, (module, optimizer) in enumerate(zip(self.feedback_modules, self.optimizers, strict=True)):
            assert isinstance(module, FeedbackModule)
            feedback, block, x, y = module.at(values[number]), self._blocks[number + 1], *values[number : number + 2]
            for _ in range(self.feedback_steps):
                optimizer.zero_grad()
                torch.autograd.backward(feedback_loss(block, feedback, x, y, self.feedback_noise, self._noise))
                optimizer.step()
            maps.append(feedback)
        return maps
