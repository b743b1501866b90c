"""What values the library's options may have, most of which it does not check, or only once it trains."""

from typing import TYPE_CHECKING

from redwood.settings.checks import check_positive, check_range

if TYPE_CHECKING:
    from redwood.methods.agents.agent import Agent

# The least and the greatest value, or None if there is none; a name means the same in all agents that have it.
RANGES: dict[str, tuple[float, float | None]] = {
    "n_steps": (1, None),
    "batch_size": (1, None),
    "n_epochs": (1, None),
    "buffer_size": (1, None),
    "learning_starts": (0, None),
    "train_freq": (1, None),
    "gradient_steps": (-1, None),
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


def check_options(agent: "Agent") -> None:
    """Raise `InvalidOptionError` if one of the library's options that the agent has is out of range."""
    for name, (low, high) in RANGES.items():
        if getattr(agent, name, None) is not None:
            check_range(agent, name, low, high)
    if hasattr(agent, "learning_rate"):
        check_positive(agent, "learning_rate")
