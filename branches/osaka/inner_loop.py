"""The inner loop of gradient-based meta-learning: from slow weights to the fast weights of a context."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, replace_all_batch_norm_modules_
from torch.nn import functional as F

# Parameters of a network by name.
Weights = dict[str, Tensor]


class MetaNetwork(nn.Module):
    """A network, and a step size for each of its weights that the inner loop adapts (Meta-SGD, Li et al., 2017).

    Batch normalisation uses the statistics of the batch, in training and in prediction, as MAML does: running ones
    would mix the contexts.

    Attributes:
        body: The network; its parameters are the slow weights.
        step_sizes: The step sizes of the adapted parameters, of their shapes, learned with the slow weights.
    """

    def __init__(self, body: nn.Module, adapted: Iterable[str], step_size: float) -> None:
        """Adapt the parameters of `body` named `adapted`, by steps of `step_size` at first."""
        super().__init__()
        self.body = body
        replace_all_batch_norm_modules_(body)
        self._adapted = list(adapted)
        parameters = dict(body.named_parameters())
        self.step_sizes = nn.ParameterList([torch.full_like(parameters[name], step_size) for name in self._adapted])

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, K) of samples (B, ...) by the slow weights."""
        scores: Tensor = self.body(x)
        return scores

    def slow_weights(self) -> Weights:
        """The parameters of the body."""
        return dict(self.body.named_parameters())

    def loss(self, weights: Weights, x: Tensor, y: Tensor) -> Tensor:
        """The cross-entropy (scalar) of the body with other parameters."""
        return F.cross_entropy(functional_call(self.body, weights, (x,)), y)

    def adapt(self, weights: Weights, x: Tensor, y: Tensor, *, steps: int, second_order: bool = False) -> Weights:
        """Fast weights: `steps` gradient steps on labelled samples (Finn et al., 2017, equation 1).

        Args:
            weights: All parameters of the body to start from.
            x: Samples (B, ...).
            y: Labels (B,).
            steps: Number of gradient steps.
            second_order: Whether gradients of the result go through the gradients of the steps, too.

        Returns:
            All parameters; they depend on `weights` and on the step sizes, for an outer gradient.
        """
        for _ in range(steps):
            if second_order:
                gradients = self._gradients(weights, x, y)
            else:
                with torch.no_grad():
                    gradients = self._gradients({name: value.detach() for name, value in weights.items()}, x, y)
            moved = {
                name: weights[name] - size * gradients[name]
                for name, size in zip(self._adapted, self.step_sizes, strict=True)
            }
            weights = weights | moved
        return weights

    def _gradients(self, weights: Weights, x: Tensor, y: Tensor) -> Weights:
        def loss(adapted: Weights) -> Tensor:
            return self.loss(weights | adapted, x, y)

        gradients: Weights = grad(loss)({name: weights[name] for name in self._adapted})
        return gradients
