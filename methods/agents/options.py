"""The agents' options: which values and spaces they allow, and which network suits the observations."""

import numpy as np
from gymnasium import spaces

from redwood.core.checks import check_positive, check_range
from redwood.core.errors import InvalidOptionError, NotApplicableError
from redwood.settings.assumptions import Context
from redwood.settings.base import Setting
from redwood.settings.rl.tree import ContinualRLSetting
from redwood.settings.rl.types import Space

# The least and the greatest value, or None if there is none; a name means the same in all agents that have it.
RANGES: dict[str, tuple[float, float | None]] = {
    "n_steps": (1, None),
    "batch_size": (1, None),
    "n_epochs": (1, 1_000_000),
    "buffer_size": (1, None),
    "learning_starts": (0, None),
    "train_freq": (1, None),
    "gradient_steps": (-1, 1_000_000),
    "target_update_interval": (1, None),
    "policy_delay": (1, None),
    "tau": (0, 1),
    "gamma": (0, 1),
    "gae_lambda": (0, 1),
    "clip_range": (0, None),
    "vf_coef": (0, None),
    "max_grad_norm": (0, None),
    "rms_prop_eps": (0, None),
    "target_kl": (0, None),
    "sde_sample_freq": (-1, None),
    "exploration_fraction": (0, 1),
    "exploration_initial_eps": (0, 1),
    "exploration_final_eps": (0, 1),
    "target_policy_noise": (0, None),
    "target_noise_clip": (0, None),
}


def check_options(agent: object) -> None:
    """Raise `InvalidOptionError` if one of the library's options is out of range.

    The library itself checks few options, and some of them only when it trains.
    """
    for name, (low, high) in RANGES.items():
        if getattr(agent, name, None) is not None:
            check_range(agent, name, low, high)
    if hasattr(agent, "learning_rate"):
        check_positive(agent, "learning_rate")


ACTIONS = {spaces.Discrete: "a choice among actions", spaces.Box: "numbers within bounds"}
FITTING = {spaces.Discrete: "ppo, a2c or dqn", spaces.Box: "ppo, a2c, sac or td3"}


def check_spaces(reference: str, kinds: tuple[type[Space], ...], setting: Setting) -> None:
    """Raise `NotApplicableError` if an agent cannot handle the setting's observations or actions.

    Args:
        reference: Name of the agent, for the message.
        kinds: Kinds of action spaces that the agent can handle.
        setting: The setting.
    """
    env = getattr(setting, "env", "the environment")
    _check_actions(reference, kinds, setting.action_space, env)
    _check_observations(reference, setting.observation_space, env)


def _check_actions(reference: str, kinds: tuple[type[Space], ...], actions: Space, env: str) -> None:
    if not isinstance(actions, kinds):
        kind = next((text for space, text in ACTIONS.items() if isinstance(actions, space)), "something else")
        others = next((text for space, text in FITTING.items() if isinstance(actions, space)), "a method of your own")
        raise NotApplicableError(f"{reference} cannot act in {env}, whose actions {actions} are {kind}; use {others}.")
    if isinstance(actions, spaces.Discrete) and actions.start != 0:
        raise NotApplicableError(
            f"{reference} counts actions from 0, but those of {env} start at {actions.start}; "
            "wrap the environment so that they start at 0."
        )
    if isinstance(actions, spaces.Box) and not (np.isfinite(actions.low).all() and np.isfinite(actions.high).all()):
        raise NotApplicableError(
            f"{reference} needs bounds of the actions, but those of {env} are {actions}; "
            "wrap the environment in gymnasium's RescaleAction or ClipAction."
        )


def _check_observations(reference: str, observations: Space, env: str) -> None:
    if isinstance(observations, spaces.Discrete) and observations.start != 0:
        raise NotApplicableError(
            f"{reference} counts observations from 0, but those of {env} start at {observations.start}; "
            "wrap the environment so that they start at 0."
        )
    if not isinstance(observations, spaces.Box | spaces.Discrete):
        raise NotApplicableError(
            f"{reference} cannot see {env}, whose observations are {observations}; "
            "wrap the environment in gymnasium's FlattenObservation."
        )


def check_equal_shares(setting: ContinualRLSetting, n_envs: int, batch_size: int | None) -> None:
    """Raise `InvalidOptionError` unless tasks can have equal shares of environments and batches."""
    if setting.assumptions.context != Context.STATIONARY:
        raise InvalidOptionError(
            f"--task_shares equal is for phases with all tasks, and {type(setting).__name__} has others; "
            "leave it out, or use multi_task_rl or traditional_rl."
        )
    n = setting.num_tasks
    if n_envs % n:
        raise InvalidOptionError(
            f"--task_shares equal needs equally many environments of each of {n} tasks; use a multiple for --n_envs, "
            f"not {n_envs}."
        )
    if batch_size is not None and batch_size < n:
        raise InvalidOptionError(
            f"--batch_size {batch_size} has no room for each of {n} tasks, as --task_shares equal asks; enlarge it."
        )


POLICIES = ("MlpPolicy", "CnnPolicy")
SMALLEST_IMAGE = 36  # pixels of the smallest side that the convolutions of CnnPolicy can take


def choose_policy(policy: str, space: Space) -> str:
    """Return the library's name of the network: `policy`, or for `auto` the network that suits the observations."""
    if policy != "auto":
        return policy
    if channel_axis(space) is None:
        return "MlpPolicy"
    sides = sorted(space.shape or ())[1:]
    return "CnnPolicy" if min(sides) >= SMALLEST_IMAGE else "MlpPolicy"


def channel_axis(space: Space) -> int | None:
    """Return the axis of an image's channels, 0 or 2, as the library sees it; None if the space is not of images."""
    from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first

    if not isinstance(space, spaces.Box) or not is_image_space(space):
        return None
    return 0 if is_image_space_channels_first(space) else 2
