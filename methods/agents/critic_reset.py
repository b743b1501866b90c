"""Agents that learn each task's values from new critics."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.methods.agents.actor import Actor
from redwood.methods.agents.agent import Agent
from redwood.methods.base import Composition
from redwood.settings.rl.tree import ContinualRLSetting, IncrementalRLSetting


@dataclass
class AgentResetCritic(Agent):
    """Give critics and value functions new weights when a task starts; what decides the actions is kept.

    It is `reset_critic_on_task_change` of Continual World (Wolczyk et al., 2021). Target critics become equal to the
    new critics, and the optimizers' moments of the old weights are dropped. Layers that the actor shares are kept.
    """

    target = IncrementalRLSetting
    without_second_phase: ClassVar[str] = "No critic was reset"
    composition: ClassVar[Composition] = Composition.ANYWHERE

    @override
    def configure(self, setting: ContinualRLSetting) -> None:
        """Build the agent.

        Raises:
            InvalidOptionError: If it has no critic apart from the network that decides its actions, or if a penalty
                would pull new critics back to old ones.
        """
        if getattr(self, "regularize_critic", False):
            raise InvalidOptionError(
                "--regularize_critic pulls critics back to their old weights, and reset_critic gives them new ones; "
                "leave one of them out."
            )
        super().configure(setting)
        deciding = set(Actor(self).weights().values())
        self._critics = {name: p for name, p in self.named_parameters().items() if p not in deciding}
        if not self._critics:
            raise InvalidOptionError(
                f"{self.reference()} has no critic to reset, since its values decide its actions; "
                "leave reset_critic out, or use ppo, a2c, sac or td3."
            )

    @override
    def on_task_start(self, task_id: int | None) -> None:
        super().on_task_start(task_id)
        if self.phase_count:
            self._reset_critics()

    @torch.no_grad()
    def _reset_critics(self) -> None:
        policy = self.algorithm.policy
        with preserved_random_state():
            seed_everything(self.setting.seed, "new critics", self.phase_count)
            new = type(policy)(**policy._get_constructor_parameters()).to(self.device)
        weights = dict(new.named_parameters())
        for name, parameter in self._critics.items():
            parameter.copy_(weights[name])
            for optimizer in self.optimizers():
                optimizer.state.pop(parameter, None)
        if hasattr(policy, "critic_target"):
            policy.critic_target.load_state_dict(policy.critic.state_dict())
