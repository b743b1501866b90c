"""Networks with a head per task: the policies of Stable-Baselines3, whose last layers exist once for each task.

The inputs are those of `OneHotTask`: observations with the one-hot code of their task. The code passes by all layers
but the last ones, where it selects the head. So memories, rollouts and batches of several tasks need nothing else.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import DiagGaussianDistribution, Distribution
from stable_baselines3.common.policies import ActorCriticPolicy, ContinuousCritic
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    FlattenExtractor,
    MlpExtractor,
    NatureCNN,
    create_mlp,
)
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from stable_baselines3.sac.policies import Actor as SACActor
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import Actor as TD3Actor
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn
from typing_extensions import override

from redwood.core.errors import InvalidOptionError
from redwood.methods.agents.task_heads import PassingTrunk, TaskDeviations, TaskHeads
from redwood.methods.agents.task_input import OneHotTask
from redwood.settings.rl.types import Space

Features: TypeAlias = BaseFeaturesExtractor | None


class TaskFeatures(BaseFeaturesExtractor):
    """The features of observations, followed by the code of their task, (B, num_features + num_tasks).

    Attributes:
        num_features: Features of the observation alone.
        num_tasks: Length of the code.
    """

    def __init__(self, observation_space: Space, num_tasks: int, *, images: bool, convolutions: bool) -> None:
        """Build the library's extractor for observations without a code.

        Args:
            observation_space: Space of the inputs: images (C + num_tasks, H, W), or numbers (D + num_tasks,).
            num_tasks: Number of tasks.
            images: Whether the code consists of channels.
            convolutions: Whether to extract features by the library's convolutions.
        """
        assert isinstance(observation_space, spaces.Box)
        low, high = observation_space.low[:-num_tasks], observation_space.high[:-num_tasks]
        own = spaces.Box(low, high, dtype=observation_space.dtype.type)
        base = NatureCNN(own) if convolutions else FlattenExtractor(own)
        super().__init__(observation_space, base.features_dim + num_tasks)
        self.base, self.num_features, self.num_tasks, self._images = base, base.features_dim, num_tasks, images

    @override
    def forward(self, observations: Tensor) -> Tensor:
        own, code = observations[:, : -self.num_tasks], observations[:, -self.num_tasks :]
        if self._images:
            code = code[:, :, 0, 0]
        return torch.cat([self.base(own), code], dim=1)


def _with_heads(
    features: TaskFeatures, n_actions: int, net_arch: Sequence[int], activation: type[nn.Module], *n_outputs: int
) -> list[nn.Module]:
    """Build a trunk for features and actions, and heads with so many outputs each."""
    n_inputs, num_tasks = features.num_features + n_actions, features.num_tasks
    layers = nn.Sequential(*create_mlp(n_inputs, -1, list(net_arch), activation))
    width = net_arch[-1] if net_arch else n_inputs
    heads = [TaskHeads([nn.Linear(width, n) for _ in range(num_tasks)]) for n in n_outputs]
    return [PassingTrunk(layers, features.num_features, num_tasks), *heads]


def _task_features(extractor: nn.Module | None) -> TaskFeatures:
    assert isinstance(extractor, TaskFeatures)
    return extractor


# Policies.


class HeadsActorCriticPolicy(ActorCriticPolicy):
    """Policy of PPO and A2C: heads for the actions, their deviations, and the values."""

    @override
    def _build_mlp_extractor(self) -> None:
        features = _task_features(self.features_extractor)
        mlp = MlpExtractor(features.num_features, self.net_arch, self.activation_fn, self.device)
        for name in ("policy_net", "value_net"):
            setattr(mlp, name, PassingTrunk(getattr(mlp, name), features.num_features, features.num_tasks))
        self.mlp_extractor = mlp

    @override
    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        num_tasks = _task_features(self.features_extractor).num_tasks
        self.action_net = self._heads_like(self.action_net, num_tasks, gain=0.01)
        self.value_net = self._heads_like(self.value_net, num_tasks, gain=1.0)  # type: ignore[assignment]
        if isinstance(self.action_dist, DiagGaussianDistribution):
            self.deviations = TaskDeviations(num_tasks, self.log_std.numel(), self.log_std_init)
            del self.log_std
        make: Any = self.optimizer_class
        self.optimizer = make(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def _heads_like(self, layer: nn.Module, num_tasks: int, gain: float) -> TaskHeads:
        """Draw a head for each task, as the library draws the layer."""
        assert isinstance(layer, nn.Linear)
        heads = [nn.Linear(layer.in_features, layer.out_features) for _ in range(num_tasks)]
        if self.ortho_init:
            for head in heads:
                self.init_weights(head, gain)
        return TaskHeads(heads)

    @override
    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Distribution:
        if isinstance(self.action_dist, DiagGaussianDistribution):
            return self.action_dist.proba_distribution(self.action_net(latent_pi), self.deviations(latent_pi))
        return super()._get_action_dist_from_latent(latent_pi)


class HeadsDQNPolicy(DQNPolicy):
    """Policy of DQN: heads for the values of the actions."""

    @override
    def make_q_net(self) -> QNetwork:
        net = super().make_q_net()
        features = _task_features(net.features_extractor)
        n_actions = spaces.flatdim(self.action_space)
        net.q_net = nn.Sequential(*_with_heads(features, 0, net.net_arch, net.activation_fn, n_actions))
        return net.to(self.device)


def _give_critic_heads(critic: ContinuousCritic, options: Mapping[str, Any]) -> None:
    """Replace each network of a critic; `options` are those that the library has made it with."""
    net_arch, activation = options["net_arch"], options["activation_fn"]
    features = _task_features(critic.features_extractor)
    n_actions = spaces.flatdim(critic.action_space)
    critic.q_networks = [
        nn.Sequential(*_with_heads(features, n_actions, net_arch, activation, 1)) for _ in critic.q_networks
    ]
    for index, network in enumerate(critic.q_networks):
        setattr(critic, f"qf{index}", network)


class HeadsSACPolicy(SACPolicy):
    """Policy of SAC: heads for means and deviations of the actions, and for the values of each critic."""

    @override
    def make_actor(self, features_extractor: Features = None) -> SACActor:
        actor = super().make_actor(features_extractor)
        features, size = _task_features(actor.features_extractor), spaces.flatdim(self.action_space)
        parts: list[Any] = _with_heads(features, 0, actor.net_arch, actor.activation_fn, size, size)
        actor.latent_pi, actor.mu, actor.log_std = parts
        return actor.to(self.device)

    @override
    def make_critic(self, features_extractor: Features = None) -> ContinuousCritic:
        critic = super().make_critic(features_extractor)
        _give_critic_heads(critic, self.critic_kwargs)
        return critic.to(self.device)


class HeadsTD3Policy(TD3Policy):
    """Policy of TD3: heads for the actions, and for the values of each critic."""

    @override
    def make_actor(self, features_extractor: Features = None) -> TD3Actor:
        actor = super().make_actor(features_extractor)
        features, size = _task_features(actor.features_extractor), spaces.flatdim(self.action_space)
        layers = _with_heads(features, 0, actor.net_arch, actor.activation_fn, size)
        actor.mu = nn.Sequential(*layers, nn.Tanh())
        return actor.to(self.device)

    @override
    def make_critic(self, features_extractor: Features = None) -> ContinuousCritic:
        critic = super().make_critic(features_extractor)
        _give_critic_heads(critic, self.critic_kwargs)
        return critic.to(self.device)


# By the name of the algorithm's class.
HEADS_POLICIES: dict[str, type[Any]] = {
    "A2C": HeadsActorCriticPolicy,
    "PPO": HeadsActorCriticPolicy,
    "DQN": HeadsDQNPolicy,
    "SAC": HeadsSACPolicy,
    "TD3": HeadsTD3Policy,
}

# What the library takes for convolutions, where nobody gives sizes, and its own extractor tells it of them.
_AFTER_CONVOLUTIONS: dict[str, list[int]] = {"A2C": [], "PPO": [], "DQN": [], "SAC": [256, 256], "TD3": [256, 256]}


def heads_options(
    algorithm_name: str, task_input: OneHotTask, policy: str, kwargs: Mapping[str, object]
) -> dict[str, object]:
    """Return `policy` and `policy_kwargs` of the library for networks with a head for each task.

    Args:
        algorithm_name: Name of the algorithm's class.
        task_input: What is appended to observations.
        policy: The library's name of the network without heads, `MlpPolicy` or `CnnPolicy`.
        kwargs: Options of this network.

    Raises:
        InvalidOptionError: If there are no heads for this algorithm.
    """
    if algorithm_name not in HEADS_POLICIES:
        raise InvalidOptionError(
            f"--task_input heads is not for {algorithm_name}, but for {', '.join(HEADS_POLICIES)}; use one_hot."
        )
    convolutions = policy == "CnnPolicy"
    sizes = {"net_arch": _AFTER_CONVOLUTIONS[algorithm_name]} if convolutions else {}
    extractor = {
        "features_extractor_class": TaskFeatures,
        "features_extractor_kwargs": {
            "num_tasks": task_input.num_tasks,
            "images": task_input.is_channels,
            "convolutions": convolutions,
        },
    }
    return {"policy": HEADS_POLICIES[algorithm_name], "policy_kwargs": sizes | dict(kwargs) | extractor}
