"""What decides an agent's actions, as a module: its parameters, its last layers, and how much each weight matters."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from redwood.methods.agents.agent import Agent


class Decision(nn.Module):
    """Maps observations (B, ...) to what decides the actions (B, K), by the networks of an agent as they are now.

    An agent has further networks, which only serve its training: critics, value functions, targets.
    """

    def __init__(self, agent: "Agent") -> None:
        super().__init__()
        self.policy: nn.Module = agent.algorithm.policy
        self._outputs = agent.outputs
        space = agent.observation_space
        self._one = torch.as_tensor(np.zeros((1, *(space.shape or ())), space.dtype)).to(agent.device)

    def forward(self, observations: Tensor) -> Tensor:
        """The agent's outputs (B, K)."""
        return self._outputs(observations)

    def weights(self) -> dict[str, nn.Parameter]:
        """The parameters that the outputs depend on, by name."""
        named = {name: p for name, p in self.named_parameters() if p.requires_grad}
        with torch.enable_grad():
            used = _used(self(self._one), list(named.values()))
        return {name: p for name, p in named.items() if p in used}

    def last_layers(self) -> dict[str, nn.Parameter]:
        """Those of `weights` that are matrices of layers whose outputs no other such layer reads.

        A policy may have several, such as one for the means of its actions and one for their deviations.
        """
        matrices = {name: p for name, p in self.weights().items() if p.dim() > 1}
        inputs: list[Tensor] = []

        def note(layer: nn.Module, args: tuple[Any, ...]) -> None:
            if any(p is own for p in matrices.values() for own in layer.parameters(recurse=False)):
                inputs.append(args[0])

        handles = [layer.register_forward_pre_hook(note) for layer in self.modules()]
        try:
            with torch.enable_grad():
                self(self._one)
        finally:
            for handle in handles:
                handle.remove()
        read = {p for x in inputs if x.requires_grad for p in _used(x, list(matrices.values()))}
        return {name: p for name, p in matrices.items() if p not in read}


def _used(value: Tensor, parameters: list[nn.Parameter]) -> set[nn.Parameter]:
    """The parameters that a value depends on."""
    found = torch.autograd.grad(value.sum(), parameters, allow_unused=True, retain_graph=True)
    return {p for p, gradient in zip(parameters, found, strict=True) if gradient is not None}
