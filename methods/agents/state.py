"""All that an algorithm of Stable-Baselines3 depends on, as tensors and plain values."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.save_util import recursive_getattr
from torch.optim import Optimizer

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
    """Go on from an earlier `algorithm_state`.

    Raises:
        ValueError: If the state is not one of such an algorithm.
    """
    parameters, numbers, variables = state["parameters"], state["numbers"], algorithm._get_torch_save_params()[1]
    # The library takes a text for the name of a file, and unpickles it.
    if not isinstance(parameters, dict) or not all(isinstance(part, dict) for part in parameters.values()):
        raise ValueError("its parameters are no tensors by name")
    known = vars(algorithm)
    for name, value in numbers.items():
        if not isinstance(known.get(name), bool | int | float) or type(value) not in (bool, int, float):
            raise ValueError(f"{name} is no number of the algorithm")
    if state["variables"].keys() != set(variables):
        raise ValueError("its variables are those of another algorithm")
    for name, optimizer in _optimizers(algorithm):
        own, groups = optimizer.state_dict()["param_groups"], parameters[name]["param_groups"]
        if [_kinds(group) for group in groups] != [_kinds(group) for group in own]:
            raise ValueError(f"{name} has other options")
    algorithm.set_parameters(parameters, exact_match=True, device=algorithm.device)
    _check_kept(algorithm)
    with torch.no_grad():
        for name, value in state["variables"].items():
            own = recursive_getattr(algorithm, name)
            own.copy_(value.view(own.shape))
    known.update(numbers)


def _optimizers(algorithm: Any) -> Iterator[tuple[str, Optimizer]]:
    for name in algorithm._get_torch_save_params()[0]:
        found = recursive_getattr(algorithm, name)
        if isinstance(found, Optimizer):
            yield name, found


def _kinds(group: dict[str, Any]) -> dict[str, Any]:
    """The kinds of an optimizer's options; which parameters it is for has to be equal."""
    return {
        name: value if name == "params" else [type(entry) for entry in (value if isinstance(value, tuple) else [value])]
        for name, value in group.items()
    }


def _check_kept(algorithm: Any) -> None:
    """Raise `ValueError` unless what optimizers keep of a parameter has its shape; they do not look themselves."""
    for name, optimizer in _optimizers(algorithm):
        for parameter, kept in optimizer.state.items():
            shapes = [value.shape for value in kept.values() if isinstance(value, torch.Tensor)]
            if any(shape not in (parameter.shape, ()) for shape in shapes) or len(shapes) != len(kept):
                raise ValueError(f"{name} keeps something else than one number for each weight")


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
    """Go on from an earlier `position_state`.

    Raises:
        ValueError: If the state is not one of such an algorithm.
    """
    observation, starts, space = (
        state["observation"].numpy(),
        state["episode_starts"].numpy(),
        algorithm.env.observation_space,
    )
    shape = (algorithm.n_envs, *space.shape)
    if (
        observation.shape != shape
        or observation.dtype != space.dtype
        or starts.shape != shape[:1]
        or starts.dtype != bool
    ):
        raise ValueError("its observations are those of other environments")
    algorithm._last_obs, algorithm._last_episode_starts = observation, starts
    algorithm.action_space.np_random.bit_generator.state = state["action_choice"]
    for name, value in state["to_log"].items():
        algorithm.logger.record(str(name), float(value))
