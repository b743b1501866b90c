"""`mlp:widths=400-400,mean=0,deviation=1`: a multi-layer perceptron as a paper has it."""

import math
from typing import Any

from gymnasium.spaces import Box
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks.builtin import mlp

PREFIX = "mlp:"


def mlp_from(name: str, observation_space: Box, n_outputs: int) -> nn.Sequential:
    """The network that `mlp:argument=value,...` names.

    Args:
        name: The arguments are `widths`, units of each hidden layer joined by hyphens, and `mean` and `deviation` of
            the inputs after their bounds have become 0 and 1.
        observation_space: Space of one observation of any shape; it is flattened.
        n_outputs: Number of scores.

    Raises:
        InvalidOptionError: If an argument is unknown or not a number in its range.
    """
    return mlp(observation_space, n_outputs, **_arguments(name))


def _arguments(name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in name.removeprefix(PREFIX).split(","):
        key, _, text = part.partition("=")
        if key in found:
            raise InvalidOptionError(f"--model {name} has {key} twice; give it once.")
        try:
            found[key] = _READERS[key](text)
        except (KeyError, ValueError):
            raise InvalidOptionError(
                f"--model {name}: {part or 'nothing'} is no argument of mlp; write mlp:widths=400-400, with mean=M and "
                "deviation=D if need be, separated by commas."
            ) from None
    return found


def _widths(text: str) -> tuple[int, ...]:
    widths = tuple(int(width) for width in text.split("-"))
    if min(widths) < 1:
        raise ValueError(text)
    return widths


def _mean(text: str) -> float:
    mean = float(text)
    if not math.isfinite(mean):
        raise ValueError(text)
    return mean


def _deviation(text: str) -> float:
    deviation = float(text)
    if not 0 < deviation < math.inf:
        raise ValueError(text)
    return deviation


_READERS = {"widths": _widths, "mean": _mean, "deviation": _deviation}
