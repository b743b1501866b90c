"""A quadratic penalty on each weight, which stands for the losses of all earlier tasks."""

from abc import abstractmethod
from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor
from typing_extensions import override

from redwood.core.errors import InvalidOptionError
from redwood.core.state import State
from redwood.methods.base import Method
from redwood.methods.networks.check import check_shapes

# What two measures of importance bring and bar; see `Method.brings`.
IMPORTANCE = frozenset({"importance"})
ONE_IMPORTANCE = {"importance": "as each weight has one importance"}

# One tensor per parameter, by its name.
Weights = dict[str, Tensor]


class QuadraticPenalty(Method):
    """Keeps, for each weight w_i, a curvature c_i and a minimum m_i; the penalty is strength/2 * c_i (w_i - m_i)^2.

    Two numbers per weight stand for any number of tasks, since a sum of parabolas is a parabola. Networks and agents
    share this class.

    Attributes:
        curvature: c_i, without the strength; empty before the first task is over.
        minimum: m_i, where the penalty is 0.
    """

    @property
    @abstractmethod
    def strength(self) -> float:
        """Factor of the curvature in the penalty."""

    @abstractmethod
    def trained_weights(self) -> Iterable[tuple[str, Tensor]]:
        """The parameters with a penalty, and their names."""

    def start_penalty(self) -> None:
        """Declare the state of the penalty, which is empty; `configure` has to call it.

        Raises:
            InvalidOptionError: If two classes of the method measure an importance; `compose` refuses these before.
        """
        kinds = [kind for kind in type(self).__mro__ if "strength" in vars(kind)]
        for kind, other in pairwise(kinds):
            if not issubclass(kind, other):
                raise InvalidOptionError(
                    f"{kind.__name__} and {other.__name__} cannot be combined, as each weight has one importance; "
                    "leave one of them out."
                )
        self.curvature: Weights = self.add_state("curvature", {}, buffer=True)
        self.minimum: Weights = self.add_state("minimum", {}, buffer=True)

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        weights = dict(self.trained_weights())
        expected = {name: weights.get(name, c) for name, c in self.curvature.items()}  # a weight may be frozen by now
        check_shapes(self.curvature, expected)
        check_shapes(self.minimum, expected)

    def without_free_entries(self, importance: Weights) -> Weights:
        """The importances; of entries that no task so far answers with, it is 0."""
        free = self.free_entries()
        return {n: value.masked_fill(free[n], 0) if n in free else value for n, value in importance.items()}

    def add_penalty(self, importance: Weights) -> None:
        """Add a penalty with its minimum at the present weights, and `importance` as its curvature."""
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
        """Move the minimum of the penalty to the present weights.

        Args:
            importance: Added to the curvature.
            decay: Factor of the curvature before.
        """
        for name, parameter in self.trained_weights():
            earlier = self.curvature.get(name)
            self.curvature[name] = importance[name] if earlier is None else decay * earlier + importance[name]
            self.minimum[name] = parameter.detach().clone()


def mean_of(weights: Weights) -> float:
    """The mean over all entries of the tensors."""
    return float(sum(value.double().sum() for value in weights.values())) / sum(v.numel() for v in weights.values())
