"""Difference target propagation with the local difference reconstruction loss (Ernoult et al., 2022)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed
from redwood.core.workers import rank
from redwood.methods.base import Composition
from redwood.methods.lightning import LightningMethod
from redwood.methods.target_propagation.inversion import Inverse, WayBack, blocks_of, cut, invert
from redwood.methods.training.step import Step
from redwood.settings.supervised import SupervisedSetting


def feedback_loss(
    block: Callable[[Tensor], Tensor],
    way_back: WayBack,
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
        block: F; it is not differentiated.
        way_back: G, whose weights the loss is differentiated by.
        x: Inputs of the block (B, ...).
        y: Its outputs F(x) (B, ...).
        sigma: Standard deviation of the noise.
        noise: Where it is drawn from, on the device of x.

    Returns:
        A scalar; sums over the features of a sample, the mean over samples.
    """
    xi, eta = (sigma * torch.randn(t.shape, generator=noise, device=t.device, dtype=t.dtype) for t in (x, y))
    with torch.no_grad():
        moved = block(x + xi)
    origin = way_back(y)
    return ((way_back(y + eta) - origin).square().sum() - 2 * (xi * (way_back(moved) - origin)).sum()) / len(x)


@torch.no_grad()
def layer_targets(ways_back: Sequence[WayBack], outputs: Sequence[Tensor], last: Tensor) -> list[Tensor]:
    """The targets t_0 .. t_{N-1} of all blocks: t_{i-1} = h_{i-1} + G_i(t_i) - G_i(h_i).

    Args:
        ways_back: G_1 .. G_{N-1}.
        outputs: h_0 .. h_{N-1}, each (B, ...).
        last: The target t_{N-1} of the last block (B, K).

    Returns:
        N tensors of the outputs' shapes.
    """
    targets = [last]
    for way_back, lower, upper in zip(ways_back[::-1], outputs[-2::-1], outputs[:0:-1], strict=True):
        targets.append(lower + way_back(targets[-1]) - way_back(upper))
    return targets[::-1]


def local_losses(outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """1/2 |h_i - t_i|^2 of each block (N,), sums over features and means over samples.

    Differentiated by a block's weights it says how to move them, if h_i was computed on an input that is cut off from
    the block below.
    """
    halves = [(h - t).square().sum() / (2 * len(h)) for h, t in zip(outputs, targets, strict=True)]
    return torch.stack(halves)


@dataclass
class DTP(LightningMethod):
    """Train each block of the network towards a target of its own: no gradient passes from one to another.

    The target of the last block is its output, moved by beta against the gradient of the loss; those of the others come
    from it by ways back through the blocks ("Towards Scaling Difference Target Propagation by Learning Backprop
    Targets"). These have weights of their own, which are trained on each batch before it is learned from, until their
    Jacobians are about the transposed ones of the blocks: the blocks then move as they would by backpropagation, at a
    learning rate of lr * beta, whatever the loss is.

    Linear layers, convolutions, ReLU, ELU, max pooling and flattening can be gone back through; a way back through ReLU
    leads where the forward one came from, as that through max pooling does. Under several workers each trains ways back
    of its own: averaging them would take a message in each of their many steps.
    """

    composition: ClassVar[Composition] = Composition.FIRST  # what others add to the loss is learned by targets, too

    dtp_beta: float = 0.7  # how far the last block's target is from its output, in gradients of the loss
    feedback_steps: int = 10  # steps that each way back is trained on each batch
    feedback_noise: float = 0.1  # standard deviation of the noise that the ways back are trained with
    feedback_lr: float = 0.01  # learning rate of the ways back
    feedback_momentum: float = 0.9  # momentum of the ways back

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "feedback_steps", 0)
        check_range(self, "feedback_lr", 0)
        check_range(self, "feedback_momentum", 0)
        for name in ("dtp_beta", "feedback_noise"):
            check_range(self, name, 0)
            if not getattr(self, name):
                raise InvalidOptionError(f"--{name} 0 leaves nothing to learn from; it has to be greater than 0.")
        if self.dropout:
            raise InvalidOptionError(
                f"--dropout {self.dropout} does not go with target propagation, whose ways back do not know what was "
                "dropped; leave it out."
            )

    def configure(self, setting: SupervisedSetting) -> None:
        """Build the network, and the ways back through its blocks."""
        super().configure(setting)
        self._blocks = blocks_of(self.network)
        # The first one is made only to learn that its layers are known: it would lead to the samples.
        inverses = nn.ModuleList([invert(block) for block in self._blocks][1:]).to(self.device)
        optimizers = [
            torch.optim.SGD(inverse.parameters(), self.feedback_lr, momentum=self.feedback_momentum)
            for inverse in inverses
        ]
        self.inverses = self.add_state("inverses", inverses, buffer=True)
        self.optimizers = self.add_state("optimizers", optimizers, buffer=True)
        self.n_batches = self.add_state("n_batches", 0)
        self._noise = torch.Generator(self.device)

    def loss(self, step: Step) -> Tensor:
        """The loss of the batch, the gradient of which is replaced by that of the blocks' local losses."""
        with cut(self.network, self._blocks) as seen:
            loss = super().loss(step)
        errors = torch.autograd.grad(loss, seen.scores, retain_graph=True, materialize_grads=True)
        outputs = [torch.cat(passes) for passes in seen.outputs]
        dtype = next(self.network.parameters()).dtype
        values = [output.detach().to(dtype) for output in outputs]
        # What the loss is a mean of has gradients as many times larger as there are samples.
        last = values[-1] - self.dtp_beta * len(values[-1]) * torch.cat(errors).to(dtype)
        self.inverses.to(dtype)
        with torch.autocast(self.device.type, enabled=False):
            targets = layer_targets(self._learn_ways_back(values), values, last)
        local = local_losses(outputs, targets).sum()
        return loss + (local - local.detach())

    def _learn_ways_back(self, values: list[Tensor]) -> list[WayBack]:
        """Train the ways back on what the blocks put out for a batch, and return them."""
        self._noise.manual_seed(derive_seed(self.setting.seed, "feedback noise", rank(), self.n_batches))
        self.n_batches += 1
        ways = []
        for number, (inverse, optimizer) in enumerate(zip(self.inverses, self.optimizers, strict=True)):
            assert isinstance(inverse, Inverse)
            way, block, x, y = inverse.at(values[number]), self._blocks[number + 1], *values[number : number + 2]
            for _ in range(self.feedback_steps):
                optimizer.zero_grad()
                torch.autograd.backward(feedback_loss(block, way, x, y, self.feedback_noise, self._noise))
                optimizer.step()
            ways.append(way)
        return ways
