"""All that an algorithm of Stable-Baselines3 depends on, as tensors and plain values."""

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.save_util import recursive_getattr

# What only the library's measure of its own speed needs.
CLOCK = ("start_time", "_num_timesteps_at_start")


def algorithm_state(algorithm: Any) -> dict[str, Any]:
    """Networks, optimizers and counters, such as that of the updates; not its memory."""
    numbers = {
        name: value
        for name, value in vars(algorithm).items()
        if isinstance(value, bool | int | float) and name not in CLOCK
    }
    return {
        "parameters": algorithm.get_parameters(),
        "variables": {name: recursive_getattr(algorithm, name) for name in algorithm._get_torch_save_params()[1]},
        "numbers": {name: value if isinstance(value, int) else float(value) for name, value in numbers.items()},
    }


def load_algorithm(algorithm: Any, state: dict[str, Any]) -> None:
    """Go on from an earlier `algorithm_state`."""
    algorithm.set_parameters(state["parameters"], exact_match=True, device=algorithm.device)
    with torch.no_grad():
        for name, value in state["variables"].items():
            recursive_getattr(algorithm, name).copy_(value)
    vars(algorithm).update(state["numbers"])


def position_state(algorithm: Any) -> dict[str, Any]:
    """Where the library's loop is between two rollouts, beside its counters."""
    logger = algorithm.logger
    return {
        "observation": torch.from_numpy(np.ascontiguousarray(algorithm._last_obs)),
        "episode_starts": torch.from_numpy(algorithm._last_episode_starts),
        "action_choice": algorithm.action_space.np_random.bit_generator.state,
        "to_log": {name: float(value) for name, value in logger.name_to_value.items()},
    }


def load_position(algorithm: Any, state: dict[str, Any]) -> None:
    """Go on from an earlier `position_state`."""
    algorithm._last_obs = state["observation"].numpy()
    algorithm._last_episode_starts = state["episode_starts"].numpy()
    algorithm.action_space.np_random.bit_generator.state = state["action_choice"]
    for name, value in state["to_log"].items():
        algorithm.logger.record(name, value)
