"""The Fisher information of what decides an agent's actions."""

from enum import Enum
from typing import TYPE_CHECKING

import torch
from gymnasium import spaces
from torch import Tensor
from torch.func import functional_call

from redwood.methods.agents.decision import Decision
from redwood.methods.agents.on_policy import OnPolicyAgent
from redwood.methods.agents.spaces import one_hot_choices
from redwood.methods.regularisation.parabola import Weights
from redwood.methods.regularisation.per_sample import mean_over_samples

if TYPE_CHECKING:
    from redwood.methods.agents.agent import Agent


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
