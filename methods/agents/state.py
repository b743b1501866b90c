"""The state of an algorithm of Stable-Baselines3, as tensors and plain values."""

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor, nn
from torch.optim import Optimizer

from redwood.core.state import State
from redwood.methods.agents.memories import GrowingMemory, RehearsalMemory
from redwood.methods.networks.check import check_weights
from redwood.settings.rl.types import Array

Algorithm: TypeAlias = OnPolicyAlgorithm | OffPolicyAlgorithm

T = TypeVar("T")

CLOCK = ("start_time", "_num_timesteps_at_start")  # counters by which the library measures its own speed


class AlgorithmState:
    """Saves and loads networks, optimizers, counters and replay memory of an algorithm."""

    def __init__(self, algorithm: Algorithm) -> None:
        self._algorithm = algorithm

    @property
    def nbytes(self) -> int:
        """Bytes of the experience that the algorithm holds: transitions in memory, or the rollout."""
        algorithm = self._algorithm
        if isinstance(algorithm, OnPolicyAlgorithm):
            return sum(part.nbytes for part in vars(algorithm.rollout_buffer).values() if isinstance(part, np.ndarray))
        memory = _memory_of(algorithm)
        if isinstance(memory, RehearsalMemory):
            return memory.rows.nbytes
        return sum(array[: memory.size()].nbytes for array in _arrays(memory).values())

    def state_dict(self) -> State:
        """Return all that the next steps and updates depend on."""
        algorithm = self._algorithm
        numbers = {
            name: value if isinstance(value, int) else float(value)
            for name, value in vars(algorithm).items()
            if isinstance(value, bool | int | float) and name not in CLOCK
        }
        state = {
            "parameters": algorithm.get_parameters(),
            "variables": {name: attrgetter(name)(algorithm) for name in _variable_names(algorithm)},
            "numbers": numbers,
        }
        return state if isinstance(algorithm, OnPolicyAlgorithm) else state | {"memory": _memory_state(algorithm)}

    def load_state_dict(self, state: State) -> None:
        """Continue from an earlier state.

        Raises:
            ValueError: If the state belongs to another algorithm.
        """
        algorithm = self._algorithm
        parameters, variables, numbers = state["parameters"], state["variables"], state["numbers"]
        self._check_parameters(parameters)
        if variables.keys() != set(_variable_names(algorithm)):
            raise ValueError("its variables are those of another algorithm")
        known = vars(algorithm)
        for name, value in numbers.items():
            if not isinstance(known.get(name), bool | int | float) or type(value) not in (bool, int, float):
                raise ValueError(f"{name} is no number of the algorithm")
        algorithm.set_parameters(parameters, exact_match=True, device=algorithm.device)
        self._check_optimizer_state()
        with torch.no_grad():
            for name, value in variables.items():
                own: Tensor = attrgetter(name)(algorithm)
                own.copy_(value.view(own.shape))
        known.update(numbers)
        if isinstance(algorithm, OffPolicyAlgorithm):
            _load_memory(algorithm, state["memory"])

    def _check_parameters(self, parameters: object) -> None:
        # The library would take a text for the name of a file, and unpickle it.
        if not isinstance(parameters, dict) or not all(isinstance(part, dict) for part in parameters.values()):
            raise ValueError("its parameters are no tensors by name")
        for name, network in self._parts(nn.Module):
            check_weights(parameters[name], network)
        for name, optimizer in self._parts(Optimizer):
            own, groups = optimizer.state_dict()["param_groups"], parameters[name]["param_groups"]
            if [_option_types(group) for group in groups] != [_option_types(group) for group in own]:
                raise ValueError(f"{name} has other options")

    def _check_optimizer_state(self) -> None:
        """Raise `ValueError` unless the optimizers' tensors have their parameters' shapes; torch does not check it."""
        for name, optimizer in self._parts(Optimizer):
            for parameter, values in optimizer.state.items():
                shapes = [value.shape for value in values.values() if isinstance(value, Tensor)]
                if any(shape not in (parameter.shape, ()) for shape in shapes) or len(shapes) != len(values):
                    raise ValueError(f"{name} keeps something else than one number for each weight")

    def _parts(self, kind: type[T]) -> Iterator[tuple[str, T]]:
        """Yield the algorithm's networks or optimizers, and their names."""
        names, _ = self._algorithm._get_torch_save_params()
        for name in names:
            part = attrgetter(name)(self._algorithm)
            if isinstance(part, kind):
                yield name, part


def _variable_names(algorithm: Algorithm) -> list[str]:
    _, names = algorithm._get_torch_save_params()
    return names


def _option_types(group: Mapping[str, object]) -> dict[str, Any]:
    """Return the types of an optimizer's options by name; the indices of its parameters are returned as they are."""
    return {
        name: value if name == "params" else [type(entry) for entry in (value if isinstance(value, tuple) else [value])]
        for name, value in group.items()
    }


# The replay memory.


def _memory_of(algorithm: OffPolicyAlgorithm) -> ReplayBuffer:
    assert algorithm.replay_buffer is not None
    return algorithm.replay_buffer


def _arrays(memory: BaseBuffer) -> dict[str, Array]:
    """Return the memory's arrays of transitions, (capacity, copies of the environment, ...), by name."""
    arrays = {name: value for name, value in vars(memory).items() if isinstance(value, np.ndarray)}
    return {name: array for name, array in arrays.items() if array.shape[:1] == (memory.buffer_size,)}


def _memory_state(algorithm: OffPolicyAlgorithm) -> State:
    memory = _memory_of(algorithm)
    if isinstance(memory, RehearsalMemory):
        return {"rows": memory.rows.state_dict()}
    size = memory.size()
    rows = {name: torch.from_numpy(array[:size]) for name, array in _arrays(memory).items()}
    return {"rows": rows, "pos": memory.pos, "full": memory.full}


def _load_memory(algorithm: OffPolicyAlgorithm, state: State) -> None:
    memory = _memory_of(algorithm)
    if isinstance(memory, RehearsalMemory):
        memory.rows.load_state_dict(state["rows"])
        return
    pos, full = int(state["pos"]), bool(state["full"])
    if isinstance(memory, GrowingMemory) and pos >= memory.buffer_size:
        memory.make_room(2 * pos)
    arrays, rows = _arrays(memory), {name: value.numpy() for name, value in state["rows"].items()}
    size = memory.buffer_size if full else pos
    fits = arrays.keys() == rows.keys() and 0 <= pos < memory.buffer_size
    if not fits or any(
        (rows[name].shape, rows[name].dtype) != ((size, *array.shape[1:]), array.dtype)
        for name, array in arrays.items()
    ):
        raise ValueError("its replay memory is another one")
    for name, array in arrays.items():
        array[:size] = rows[name]
    memory.pos, memory.full = pos, full
