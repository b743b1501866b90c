"""An agent's networks as functions of observations: parameters, last layers, and importance of weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from typing_extensions import override

from redwood.methods.agents.agent import Agent
from redwood.methods.agents.on_policy import OnPolicyAgent
from redwood.methods.regularisation.quadratic_penalty import Weights
from redwood.methods.regularisation.sampled_importance import mean_over_samples


class Actor(nn.Module):
    """Maps observations (B, ...) to the agent's outputs (B, K), which decide its actions.

    The policy of an agent holds further networks, which only serve its training: critics, value functions, targets.
    """

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.policy: nn.Module = agent.algorithm.policy
        self.agent = agent
        space = agent.observation_space
        self._example = torch.as_tensor(np.zeros((1, *(space.shape or ())), space.dtype)).to(agent.device)

    def forward(self, observations: Tensor) -> Tensor:
        """Return the outputs (B, K)."""
        return self.agent.outputs(observations)

    def kind(self, n_outputs: int) -> "Outputs":
        """Return the kind of the outputs, of which there are `n_outputs` for each observation."""
        return kind_of(self.agent, n_outputs)

    def weights(self) -> dict[str, nn.Parameter]:
        """Return the parameters that the outputs depend on, by name."""
        named = {name: p for name, p in self.named_parameters() if p.requires_grad}
        with torch.enable_grad():
            outputs = self(self._example)
            used = _used(outputs, list(named.values())) if outputs.requires_grad else set()
        return {name: p for name, p in named.items() if p in used}

    def last_layers(self) -> dict[str, nn.Parameter]:
        """Return the matrices among `weights` that belong to a last layer: no other such layer reads its outputs.

        A policy may have several last layers, such as one for the means of its actions and one for their deviations.
        """
        matrices = {name: p for name, p in self.weights().items() if p.dim() > 1}
        inputs: list[Tensor] = []

        def note(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
            if any(p is own for p in matrices.values() for own in layer.parameters(recurse=False)):
                inputs.append(args[0])

        handles = [layer.register_forward_pre_hook(note) for layer in self.modules()]
        try:
            with torch.enable_grad():
                self(self._example)
        finally:
            for handle in handles:
                handle.remove()
        read = {p for x in inputs if x.requires_grad for p in _used(x, list(matrices.values()))}
        return {name: p for name, p in matrices.items() if p not in read}


class Critic(Actor):
    """Maps observations (B, ...) to the values of the agent's critics (B, C), which only serve its training.

    Q-values are those of the action that the agent would choose; critics without weights of their own give C = 0.
    """

    @override
    def forward(self, observations: Tensor) -> Tensor:
        return self.agent.critic_outputs(observations)

    @override
    def kind(self, n_outputs: int) -> "Outputs":
        return Outputs.VALUES


def _used(value: Tensor, parameters: list[nn.Parameter]) -> set[nn.Parameter]:
    """Return the parameters that a value depends on."""
    found = torch.autograd.grad(value.sum(), parameters, allow_unused=True, retain_graph=True)
    return {p for p, gradient in zip(parameters, found, strict=True) if gradient is not None}


class Outputs(Enum):
    """The kinds of an agent's outputs (B, K).

    Attributes:
        LOGITS: Logits of the actions.
        GAUSSIAN: The means of the action's K/2 entries, and then the logarithms of their standard deviations.
        VALUES: Values of all actions, or the action itself: nothing is drawn.
    """

    LOGITS = "logits"
    GAUSSIAN = "gaussian"
    VALUES = "values"


def kind_of(agent: Agent, n_outputs: int) -> Outputs:
    """Return the kind of an agent's outputs, of which there are `n_outputs` for each observation."""
    actions = agent.setting.action_space
    if isinstance(actions, spaces.Discrete):
        return Outputs.LOGITS if isinstance(agent, OnPolicyAgent) else Outputs.VALUES
    return Outputs.VALUES if n_outputs == spaces.flatdim(actions) else Outputs.GAUSSIAN


def terms(outputs: Tensor, kind: Outputs) -> tuple[Tensor, Tensor]:
    """Return terms y (B, K) and weights c (B, K): the Fisher information is the mean of sum_k c_k (dy_k/dw)^2.

    Logits: y_a = log pi(a|s) and c_a = pi(a|s), the expectation over actions that are drawn from the policy. Gaussian
    (Wolczyk et al., 2021, appendix on EWC): the sum over entries of ((dmu/dw)^2 + 2 (dsigma/dw)^2) / sigma^2, so that
    c is 1 / sigma^2 for the means, and 2 for log sigma. Values count as the means of a Gaussian with sigma = 1.
    """
    if kind is Outputs.LOGITS:
        y = outputs.log_softmax(-1)
        return y, y.exp()
    if kind is Outputs.GAUSSIAN:
        log_std = outputs.chunk(2, -1)[1]
        return outputs, torch.cat([(-2 * log_std).exp(), torch.full_like(log_std, 2.0)], -1)
    return outputs, torch.ones_like(outputs)


def fisher_information(networks: Actor, observations: Tensor) -> Weights:
    """Return the diagonal of the Fisher information on observations (n, ...) for the networks' parameters, by name.

    Args:
        networks: An agent's actor, or its critics, whose values count as the means of Gaussians with sigma = 1.
        observations: (n, ...) of the agent's `observation_space`.
    """
    names = networks.weights()
    with torch.no_grad():
        outputs = networks(observations)
    kind = networks.kind(outputs.shape[1])
    scales = terms(outputs, kind)[1].sqrt()
    n_terms = scales.shape[1]
    chosen = torch.diag_embed(scales).flatten(0, 1)

    def term(weights: Weights, one: Tensor, scale: Tensor) -> Tensor:
        y, _ = terms(functional_call(networks, weights, (one[None],)), kind)
        return (y[0] * scale).sum()

    with _encoded_choices(networks.agent, observations.to(scales.device)) as inputs:
        # One sample for each term: the square of its gradient is the part of that term.
        repeated = inputs.repeat_interleave(n_terms, 0)
        found = mean_over_samples(networks, term, torch.square, repeated, chosen, names=names)
    return {name: n_terms * value for name, value in found.items()}


def output_sensitivity(networks: Actor, observations: Tensor) -> Weights:
    """Return the mean over observations (n, ...) of |d ||y(s)||^2 / dw| for the networks' parameters, by name.

    Source: Aljundi et al., 2018, section 4.1, with the networks' outputs y as in Continual World: logits, Q-values, or
    means and log standard deviations. Logits count without their mean, which no action depends on.
    """
    kind = networks.kind(networks(observations[:1]).shape[1])

    def squared_length(weights: Weights, one: Tensor) -> Tensor:
        y: Tensor = functional_call(networks, weights, (one[None],))
        return (y - y.mean(-1, keepdim=True) if kind is Outputs.LOGITS else y).square().sum()

    with _encoded_choices(networks.agent, observations.to(networks.agent.device)) as inputs:
        return mean_over_samples(networks, squared_length, torch.abs, inputs, names=networks.weights())


@contextmanager
def _encoded_choices(agent: Agent, observations: Tensor) -> Iterator[Tensor]:
    """Encode observations (n,) that are choices as one-hot; in the body, the networks take them in this form.

    The library encodes them in each forward pass, which it cannot do under `vmap`.
    """
    space = agent.observation_space
    if not isinstance(space, spaces.Discrete):
        yield observations
        return
    networks: list[nn.Module] = [
        network for network in agent.algorithm.policy.modules() if getattr(network, "observation_space", None) == space
    ]

    def set_space(new: spaces.Space[int] | spaces.Box) -> None:
        for network in networks:
            setattr(network, "observation_space", new)  # noqa: B010 (nn.Module's type allows only modules and tensors)

    set_space(spaces.Box(0, 1, (int(space.n),)))
    try:
        yield F.one_hot(observations.long(), int(space.n)).float()
    finally:
        set_space(space)
