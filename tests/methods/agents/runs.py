"""Short runs of agents, for tests that look at what they leave behind."""

from functools import partial
from typing import Any

import torch

from redwood.core.seeding import seed_everything
from redwood.engine.run import Run
from redwood.methods.agents.off_policy import DQN, SAC, TD3
from redwood.methods.agents.on_policy import A2C, PPO
from redwood.settings.rl.tree import IncrementalRLSetting

# Each agent with updates from early on, and what it can act in.
SMALL = {
    "ppo": (partial(PPO, n_steps=16, batch_size=8, n_epochs=2), "CartPole-v1"),
    "a2c": (partial(A2C), "CartPole-v1"),
    "dqn": (partial(DQN, learning_starts=8, batch_size=4, buffer_size=48, target_update_interval=10), "CartPole-v1"),
    "sac": (partial(SAC, learning_starts=8, batch_size=4, buffer_size=48), "Pendulum-v1"),
    "td3": (partial(TD3, learning_starts=8, batch_size=4, buffer_size=48), "Pendulum-v1"),
}


def small_setting(env: str, cls: type = IncrementalRLSetting, **options: Any) -> Any:
    return cls(
        **{"env": env, "nb_tasks": 2, "steps_per_task": 70, "test_episodes": 1, "max_episode_steps": 20} | options
    )


def configured(agent: Any, setting: Any, **options: Any) -> Any:
    """An agent that has been prepared, and not trained."""
    seed_everything(0, "weights")
    defaults: dict[str, Any] = {"quiet": True, "accelerator": "cpu"}
    agent.attach(Run(**defaults | options))
    agent.configure(setting.for_method())
    return agent


def same(left: Any, right: Any) -> bool:
    """Whether two states are equal bit for bit."""
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return type(left) is type(right) and left == right
