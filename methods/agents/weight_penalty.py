"""Agents that pull weights back to their values at the end of earlier tasks: EWC, MAS and L2."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from redwood.core.checks import check_choice, check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.workers import sum_over_workers, world_size
from redwood.methods.agents.actor import Actor, Critic, fisher_information, output_sensitivity
from redwood.methods.agents.agent import Agent
from redwood.methods.base import Composition
from redwood.methods.regularisation.importance import SCALES
from redwood.methods.regularisation.quadratic_penalty import (
    IMPORTANCE,
    ONE_IMPORTANCE,
    QuadraticPenalty,
    Weights,
    mean_of,
)
from redwood.settings.rl.tree import ContinualRLSetting, IncrementalRLSetting


@dataclass
class WeightPenalty(QuadraticPenalty, Agent):
    """Add a quadratic penalty of each weight of the actor to the loss.

    Critics and value functions have no penalty, as in Continual World's best runs, unless `regularize_critic` is set.
    Nor have heads of single tasks, as no other task trains them.

    The optimizer steps without the penalty, and a proximal step of the penalty follows: w becomes the minimum of
    lr * penalty(w) + 1/2 ||w - w'||^2. Here w' is the weight after the optimizer's step, and lr is the learning rate
    (N. Parikh and S. Boyd, Proximal Algorithms, 2014, section 4.2). Adam and RMSprop divide gradients by their recent
    size. A penalty inside the gradient enters this size and slows down learning of the new task, as weight decay does
    (I. Loshchilov and F. Hutter, Decoupled Weight Decay Regularization, ICLR 2019). The proximal step also suits
    penalties of any strength, since it never moves a weight past the minimum.

    Attributes:
        penalised: The parameters that have a penalty, by name.
    """

    target = IncrementalRLSetting
    without_second_phase: ClassVar[str] = "The penalty on weights never acted"

    regularize_critic: bool = False  # penalise critics and value functions, too

    @override
    def configure(self, setting: ContinualRLSetting) -> None:
        """Build the agent.

        Raises:
            InvalidOptionError: If `regularize_critic` is set, and nothing but the actor has weights.
        """
        self.start_penalty()
        super().configure(setting)
        self.penalised = Actor(self).weights()
        if self.regularize_critic:
            critics = Critic(self).weights()
            if not critics:
                raise InvalidOptionError(
                    f"--regularize_critic has no effect on {self.reference()}, whose values decide its actions; "
                    "leave it out."
                )
            self.penalised |= critics
        self.penalised = {name: p for name, p in self.penalised.items() if p not in self._head_parameters}
        self._name_of = {parameter: name for name, parameter in self.penalised.items()}

    @abstractmethod
    def importance(self) -> Weights:
        """Return how much the last task depends on each weight, at least 0; the same on all workers."""

    @override
    def trained_weights(self) -> Iterable[tuple[str, nn.Parameter]]:
        own = set(self.names_per_task())
        return [(name, p) for name, p in self.penalised.items() if name not in own]

    @override
    @torch.no_grad()
    def after_step(self, optimizer: Optimizer) -> None:
        """Move each weight to (w + a m) / (1 + a), with a = lr * strength * c, of curvature c and minimum m."""
        if self.curvature:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    name = self._name_of.get(parameter)
                    if name in self.curvature:
                        pull = group["lr"] * self.strength * self.curvature[name]
                        parameter.lerp_(self.minimum[name], pull / (1 + pull))
        super().after_step(optimizer)

    @override
    def on_task_end(self, task_id: int | None) -> None:
        super().on_task_end(task_id)
        with self.flops.count():
            importance = self.importance()
        self.consolidate(self.without_free_entries(importance))

    def consolidate(self, importance: Weights) -> None:
        """Change the penalty by the importance of the weights for the last task; by default the importances add up."""
        self.move_penalty(importance)


@dataclass
class AgentL2(WeightPenalty):
    """Pull all weights equally to their values after the last task: lambda/2 * sum_i (w_i - w*_i)^2."""

    composition: ClassVar[Composition] = Composition.ANYWHERE
    brings: ClassVar[frozenset[str]] = IMPORTANCE
    bars: ClassVar[Mapping[str, str]] = ONE_IMPORTANCE

    l2_lambda: float = 100.0  # strength of the penalty

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "l2_lambda", 0)

    @property
    @override
    def strength(self) -> float:
        return self.l2_lambda

    @override
    def importance(self) -> Weights:
        return {name: torch.ones_like(parameter) for name, parameter in self.trained_weights()}

    @override
    def consolidate(self, importance: Weights) -> None:
        self.move_penalty(importance, decay=0.0)


@dataclass
class MeasuredImportance(WeightPenalty):
    """Measure the importance of weights on observations of the task that is over.

    The penalty is strength/2 * sum_i c_i (w_i - w*_i)^2. The curvature c_i is the sum of the importances for all tasks
    so far, and w* are the weights after the last task, as in Continual World (Wolczyk et al., 2021). The importances of
    a task are divided by their mean over all weights, unless `importance_scale` is none. A policy that is sure of its
    actions has a tiny Fisher information, so no strength would suit two agents otherwise. With `regularize_critic`, the
    actor and the critics each have their own mean. Values are larger than outputs of a policy, so with a common mean
    the policy's penalty would be weaker. Layers that both share have the sum of the two.
    """

    reads_recent: ClassVar[bool] = True
    samples_option: ClassVar[str] = ""

    importance_scale: str = "mean"  # divide importances by their mean, of actor and critics each; none: as measured

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "importance_scale", SCALES)

    @override
    def configure(self, setting: ContinualRLSetting) -> None:
        super().configure(setting)
        self.warn_if_beyond_recent(self.samples_option)

    @abstractmethod
    def measure(self, networks: Actor, observations: Tensor) -> Weights:
        """Return the importance of each weight of networks on observations (n, ...), by name."""

    @override
    def importance(self) -> Weights:
        """Return the mean importance over the workers, each of which has observations of its own."""
        observations = self.recent_observations(getattr(self, self.samples_option))
        found = {name: torch.zeros_like(p) for name, p in self.trained_weights()}
        for networks in (Actor(self), Critic(self)) if self.regularize_critic else (Actor(self),):
            for name, value in self._scaled(self.measure(networks, observations)).items():
                found[name] += value
        return found

    def _scaled(self, measured: Weights) -> Weights:
        """Return the mean over the workers for the weights with a penalty, on the scale that was asked for."""
        names = {name for name, _ in self.trained_weights()}
        found = {name: value for name, value in measured.items() if name in names}
        found = {name: sum_over_workers(f.cpu()).to(self.device) / world_size() for name, f in found.items()}
        mean = mean_of(found) if found and self.importance_scale == "mean" else 1.0
        return {name: value / mean for name, value in found.items()} if mean else found


@dataclass
class AgentEWC(MeasuredImportance):
    """Pull weights to their values after the last task, in proportion to how much the actions depend on them.

    The importance is the Fisher information F of the policy (Kirkpatrick et al., 2017, equation 3), with one penalty
    for all tasks. Q-values count as the means of Gaussians (see `redwood.methods.agents.actor`).
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    brings: ClassVar[frozenset[str]] = IMPORTANCE
    bars: ClassVar[Mapping[str, str]] = ONE_IMPORTANCE
    samples_option: ClassVar[str] = "fisher_samples"

    ewc_lambda: float = 100.0  # strength of the penalty
    fisher_samples: int = 1000  # observations of each task, by each worker; at most the last 2048 of each environment

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "ewc_lambda", 0)
        check_range(self, "fisher_samples", 1)

    @property
    @override
    def strength(self) -> float:
        return self.ewc_lambda

    @override
    def measure(self, networks: Actor, observations: Tensor) -> Weights:
        return fisher_information(networks, observations)


@dataclass
class AgentMAS(MeasuredImportance):
    """Pull weights to their values after the last task, in proportion to how far the outputs move with them.

    The importance is the mean of |d ||F(s)||^2 / dw_i| over observations s (Aljundi et al., 2018, section 4.1), and the
    penalty mas_lambda * sum_i Omega_i (w_i - w*_i)^2 (section 4).
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    brings: ClassVar[frozenset[str]] = IMPORTANCE
    bars: ClassVar[Mapping[str, str]] = ONE_IMPORTANCE
    samples_option: ClassVar[str] = "mas_samples"

    mas_lambda: float = 10.0  # strength of the penalty
    mas_samples: int = 1000  # observations of each task, by each worker; at most the last 2048 of each environment

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "mas_lambda", 0)
        check_range(self, "mas_samples", 1)

    @property
    @override
    def strength(self) -> float:
        return 2 * self.mas_lambda  # a curvature is twice the factor of the square

    @override
    def measure(self, networks: Actor, observations: Tensor) -> Weights:
        return output_sensitivity(networks, observations)
