"""A parabola in each weight, which stands for all that earlier tasks ask of it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from redwood.core.errors import InvalidOptionError

# One tensor per parameter, by its name.
Weights = dict[str, Tensor]


class QuadraticPenalty(ABC):
    """What methods of both branches of the tree share that pull weights back to where earlier tasks left them.

    Curvature and minimum of the parabola, two numbers per weight, stand for any number of tasks.

    Attributes:
        curvature: Curvature of each weight's parabola, without the strength; empty before the first task is over.
        minimum: Where each weight is pulled to.
    """

    curvature: Weights
    minimum: Weights

    @property
    @abstractmethod
    def strength(self) -> float:
        """What the curvature is multiplied by in the penalty."""

    @abstractmethod
    def trained_weights(self) -> Iterable[tuple[str, Tensor]]:
        """The parameters that are pulled at, and their names."""

    def start_penalty(self) -> None:
        """No weight matters yet.

        Raises:
            InvalidOptionError: If two methods of this family are combined.
        """
        kinds = [kind for kind in type(self).__mro__ if "strength" in vars(kind)]
        for kind, other in pairwise(kinds):
            if not issubclass(kind, other):
                raise InvalidOptionError(
                    f"{kind.__name__} and {other.__name__} cannot be combined, as each weight has one importance; "
                    "leave one of them out."
                )
        self.curvature = {}
        self.minimum = {}

    def add_penalty(self, importance: Weights) -> None:
        """Add a parabola around the present weights; the sum of parabolas is a parabola."""
        for name, parameter in self.trained_weights():
            added, anchor = importance[name], parameter.detach()
            if name not in self.curvature:
                self.curvature[name], self.minimum[name] = added, anchor.clone()
                continue
            curvature = self.curvature[name] + added
            moved = (self.curvature[name] * self.minimum[name] + added * anchor) / curvature
            self.minimum[name] = torch.where(curvature > 0, moved, anchor)
            self.curvature[name] = curvature

    def move_penalty(self, importance: Weights, decay: float = 1.0) -> None:
        """Let the one parabola that there is have its minimum at the present weights.

        Args:
            importance: What is added to its curvature.
            decay: What its curvature is multiplied by before.
        """
        for name, parameter in self.trained_weights():
            earlier = self.curvature.get(name)
            self.curvature[name] = importance[name] if earlier is None else decay * earlier + importance[name]
            self.minimum[name] = parameter.detach().clone()

    def parabola_state(self) -> dict[str, Any]:
        """Curvature and minimum, for a checkpoint."""
        return {"curvature": dict(self.curvature), "minimum": dict(self.minimum)}

    def load_parabola(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on with an earlier parabola, on the device of the weights."""
        self.curvature = {name: value.to(device) for name, value in state["curvature"].items()}
        self.minimum = {name: value.to(device) for name, value in state["minimum"].items()}

    def parabola_bytes(self) -> int:
        """Bytes that curvature and minimum take."""
        return bytes_of(self.curvature) + bytes_of(self.minimum)


def bytes_of(weights: Weights) -> int:
    """Bytes that the tensors take."""
    return sum(value.nbytes for value in weights.values())


def mean_of(weights: Weights) -> float:
    """The mean over all entries of the tensors."""
    return float(sum(value.double().sum() for value in weights.values())) / sum(v.numel() for v in weights.values())
