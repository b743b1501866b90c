"""What decides an agent's actions, as a module: its parameters, its last layers, and how much each weight matters."""

from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.func import functional_call

from redwood.methods.agents.on_policy import OnPolicyAgent
from redwood.methods.agents.options import one_hot_choices
from redwood.methods.regularisation.quadratic_penalty import Weights
from redwood.methods.regularisation.sampled_importance import mean_over_samples

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


class Outputs(Enum):
    """What the outputs (B, K) are that decide an agent's actions.

    Attributes:
        LOGITS: Of the actions.
        GAUSSIAN: The means of the action's K/2 entries, and then the logarithms of their standard deviations.
        VALUES: Of each action, or the action itself: nothing is drawn.
    """

    LOGITS = "logits"
    GAUSSIAN = "gaussian"
    VALUES = "values"


def terms(outputs: Tensor, kind: Outputs) -> tuple[Tensor, Tensor]:
    """Terms y (B, K) and their weights c (B, K), such that the Fisher information is the mean of sum_k c_k (dy_k/dw)^2.

    Logits: y_a = log pi(a|s) and c_a = pi(a|s), the expectation over actions that are drawn from the policy. Gaussian
    (Wolczyk et al., 2021, appendix on EWC): the sum over entries of ((dmu/dw)^2 + 2 (dsigma/dw)^2) / sigma^2, so that
    c is 1 / sigma^2 for the means, and 2 for log sigma. Values are taken for the means of a Gaussian with sigma = 1.
    """
    if kind is Outputs.LOGITS:
        y = outputs.log_softmax(-1)
        return y, y.exp()
    if kind is Outputs.GAUSSIAN:
        log_std = outputs.chunk(2, -1)[1]
        return outputs, torch.cat([(-2 * log_std).exp(), torch.full_like(log_std, 2.0)], -1)
    return outputs, torch.ones_like(outputs)


def kind_of(agent: "Agent", n_outputs: int) -> Outputs:
    """What so many outputs of an agent are."""
    actions = agent.setting.action_space
    if isinstance(actions, spaces.Discrete):
        return Outputs.LOGITS if isinstance(agent, OnPolicyAgent) else Outputs.VALUES
    return Outputs.VALUES if n_outputs == spaces.flatdim(actions) else Outputs.GAUSSIAN


def fisher_information(agent: "Agent", observations: Tensor) -> Weights:
    """Its diagonal, on observations (n, ...): one tensor for each parameter that decides the actions, by name."""
    decision = Decision(agent)
    deciding = decision.weights()
    with torch.no_grad():
        outputs = decision(observations)
    kind = kind_of(agent, outputs.shape[1])
    scales = terms(outputs, kind)[1].sqrt()
    n_terms = scales.shape[1]
    chosen = torch.diag_embed(scales).flatten(0, 1)

    def term(weights: Weights, one: Tensor, scale: Tensor) -> Tensor:
        y, _ = terms(functional_call(decision, weights, (one[None],)), kind)
        return (y[0] * scale).sum()

    with one_hot_choices(agent, observations.to(scales.device)) as inputs:
        # One sample for each term: its gradient, squared, is that term's share.
        repeated = inputs.repeat_interleave(n_terms, 0)
        found = mean_over_samples(decision, term, torch.square, repeated, chosen, names=deciding)
    return {name: n_terms * value for name, value in found.items()}
