"""Layers of networks with a head per task: the code of the task passes by all layers, and selects the last one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override


class PassingTrunk(nn.Module):
    """All layers but the last, which the code passes by: (B, F + T + R) to (B, H + T).

    Inputs are features, code, and what follows it: the actions, in a critic. Outputs are the last hidden layer, and the
    code.
    """

    def __init__(self, layers: nn.Module, num_features: int, num_tasks: int) -> None:
        super().__init__()
        self.layers = layers
        self._begin, self._end = num_features, num_features + num_tasks

    @override
    def forward(self, x: Tensor) -> Tensor:
        own = torch.cat([x[:, : self._begin], x[:, self._end :]], dim=1)
        return torch.cat([self.layers(own), x[:, self._begin : self._end]], dim=1)


class TaskHeads(nn.Module):
    """A linear layer for each task: (B, H + T) to (B, K), where the last T inputs are the code of the task.

    Each head has parameters of its own, so that an optimizer can pass over heads of other tasks; see `skip_idle_heads`.
    """

    def __init__(self, heads: Sequence[nn.Linear]) -> None:
        super().__init__()
        self._n = len(heads)
        for task, head in enumerate(heads):
            self.register_parameter(f"weight_{task}", nn.Parameter(head.weight.detach()))
            self.register_parameter(f"bias_{task}", nn.Parameter(head.bias.detach()))

    @override
    def forward(self, x: Tensor) -> Tensor:
        weight = torch.cat([getattr(self, f"weight_{task}") for task in range(self._n)])
        bias = torch.cat([getattr(self, f"bias_{task}") for task in range(self._n)])
        of_all: Tensor = F.linear(x[:, : -self._n], weight, bias).unflatten(1, (self._n, -1))
        return (of_all * x[:, -self._n :, None]).sum(1)


class TaskDeviations(nn.Module):
    """The logarithms of the standard deviations of Gaussian actions, one vector for each task: (B, H + T) to (B, K)."""

    def __init__(self, num_tasks: int, size: int, initial: float) -> None:
        super().__init__()
        self._n = num_tasks
        for task in range(num_tasks):
            self.register_parameter(f"log_std_{task}", nn.Parameter(torch.full((size,), initial)))

    @override
    def forward(self, x: Tensor) -> Tensor:
        return x[:, -self._n :] @ torch.stack([getattr(self, f"log_std_{task}") for task in range(self._n)])


def skip_idle_heads(optimizer: torch.optim.Optimizer, heads: set[nn.Parameter]) -> None:
    """Take away gradients that are 0 in all entries, so that momentum moves no head of a task outside the batch."""
    for group in optimizer.param_groups:
        for parameter in heads.intersection(group["params"]):
            if parameter.grad is not None and not parameter.grad.any():
                parameter.grad = None


def head_parameters(policy: nn.Module) -> set[nn.Parameter]:
    """Return the parameters that exist once for each task; an empty set for networks without heads."""
    modules = (module for module in policy.modules() if isinstance(module, TaskHeads | TaskDeviations))
    return {parameter for module in modules for parameter in module.parameters()}
