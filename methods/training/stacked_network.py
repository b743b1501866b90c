"""Networks of one shape as one: their weights lie in one tensor for each layer, and one call computes all outputs.

Layers are computed by rules, not by `torch.func.vmap`: on a CPU the gradients of its weights come out transposed, and
are copied, which takes a fourth of the time of a small network's step.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from typing_extensions import override

from redwood.core.errors import RedwoodError
from redwood.methods.networks.builtin import Scale

# Ends sentences about what the hooks of a method do.
ALONE = "which works in runs by themselves only; leave out --stack_seeds"


class StackedLinear(torch.autograd.Function):
    """y_s = x_s W_s^T + b_s for each of S networks."""

    @staticmethod
    @override
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Outputs (S, B, n_out) of inputs (S, B, n_in), weights (S, n_out, n_in) and biases (S, n_out)."""
        ctx.save_for_backward(x, weight)
        return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """The gradients by inputs, weights and biases."""
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        of_x = torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None
        return of_x, torch.bmm(gradient.transpose(1, 2), x), gradient.sum(1)


def why_not_stackable(network: nn.Module, sample: Sequence[int]) -> str | None:
    """What of a network for samples of a shape has no rule here, as a clause; None if it can be stacked."""
    if type(network) is not nn.Sequential:
        return f"{type(network).__name__} is no chain of linear layers"
    is_flat = len(sample) == 1
    for layer in network.modules():
        reason = _why_no_rule(layer)
        if reason is not None:
            return f"the network has {reason}"
        is_flat = is_flat or isinstance(layer, nn.Flatten)
        if isinstance(layer, nn.Linear) and not is_flat:
            return "the network has a linear layer on samples of several dimensions"
    parameters = list(network.parameters())
    if len(list(network.named_parameters(remove_duplicate=False))) > len(parameters):
        return "the network uses a layer twice"
    if any(is_lazy(p) or not p.requires_grad or p.dtype != torch.float32 for p in parameters):
        return "the network has weights that are frozen, or not in 32 bits"
    return None


def _why_no_rule(layer: nn.Module) -> str | None:
    if type(layer) not in (nn.Sequential, nn.Flatten, nn.Linear, nn.ReLU, Scale):
        return f"a layer of the kind {type(layer).__name__}"
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) != (1, -1):
        return "a layer that flattens a part of the dimensions"
    if isinstance(layer, nn.Linear) and layer.bias is None:
        return "a linear layer without bias"
    if layer._forward_hooks or layer._forward_pre_hooks:
        return "hooks, such as those of --dropout"
    return None


class StackedNetwork:
    """S networks of one shape, whose parameters become views of common ones until `release`.

    What trains the common ones is seen in each network at once: it predicts by the weights of the latest step.

    Attributes:
        weights: The common parameters (S, ...), in the order of each network's own.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        """Stack networks for which `why_not_stackable` returns None."""
        self._networks = list(networks)
        own = [list(network.parameters()) for network in networks]
        self.weights = [nn.Parameter(torch.stack([p.detach() for p in each])) for each in zip(*own, strict=True)]
        self._own = own
        self.hide_gradients()  # those of the last step of an earlier training
        self._point()

    def _point(self) -> None:
        for weight, each in zip(self.weights, zip(*self._own, strict=True), strict=True):
            for parameter, part in zip(each, weight.detach().unbind(), strict=True):
                parameter.data = part

    def __len__(self) -> int:
        """Number of networks."""
        return len(self._networks)

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs (S, B, K) for samples (S, B, ...)."""
        weights = iter(self.weights)
        outputs = self._through(self._networks[0], x, weights)
        return outputs

    def _through(self, layer: nn.Module, x: Tensor, weights: Iterator[Tensor]) -> Tensor:
        if isinstance(layer, nn.Sequential):
            for part in layer:
                x = self._through(part, x, weights)
            return x
        if isinstance(layer, nn.Linear):
            outputs: Tensor = StackedLinear.apply(x, next(weights), next(weights))
            return outputs
        if isinstance(layer, nn.Flatten):
            return x.flatten(2)
        if isinstance(layer, nn.ReLU):
            return x.relu()
        scaled: Tensor = layer(x)
        return scaled

    def add_own_gradients(self) -> None:
        """Add gradients of the networks' own parameters, such as those of a penalty, to the common ones."""
        for weight, each in zip(self.weights, zip(*self._own, strict=True), strict=True):
            for index, parameter in enumerate(each):
                if parameter.grad is not None:
                    if weight.grad is None:
                        weight.grad = torch.zeros_like(weight)
                    weight.grad[index] += parameter.grad
                    parameter.grad = None

    def show_gradients(self) -> None:
        """Let each network's own parameters have their part of the common gradients as a view."""
        for weight, each in zip(self.weights, zip(*self._own, strict=True), strict=True):
            if weight.grad is not None:
                for parameter, part in zip(each, weight.grad.unbind(), strict=True):
                    parameter.grad = part

    def take_gradients(self, index: int) -> None:
        """Take over the gradients that a hook has given the parameters of a network in the place of the views.

        Raises:
            RedwoodError: If it has taken one away.
        """
        for weight, parameter in zip(self.weights, self._own[index], strict=True):
            if weight.grad is None:
                continue
            if parameter.grad is None:
                raise RedwoodError(f"A hook has removed a gradient, {ALONE}.")
            if parameter.grad.data_ptr() != weight.grad[index].data_ptr():
                weight.grad[index] = parameter.grad

    def check_weights(self, index: int) -> None:
        """Raise `RedwoodError` if a hook has given the parameters of a network other memory: training misses that."""
        for weight, parameter in zip(self.weights, self._own[index], strict=True):
            if parameter.data_ptr() != weight[index].data_ptr():
                raise RedwoodError(f"A hook has replaced the memory of a weight, {ALONE}.")

    def hide_gradients(self) -> None:
        """Take these views away again."""
        for each in self._own:
            for parameter in each:
                parameter.grad = None

    def release(self, index: int) -> None:
        """Give a network weights of its own; the others stay stacked."""
        for parameter in self._own[index]:
            parameter.data = parameter.data.clone()
            parameter.grad = None
        del self._networks[index], self._own[index]
        if not self._networks:
            return
        others = [number for number in range(len(self._networks) + 1) if number != index]
        self.weights = [nn.Parameter(weight.detach()[others]) for weight in self.weights]
        self._point()
