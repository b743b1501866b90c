"""What a sampler is: it decides which stored rows form a draw."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

from redwood.buffers.parts import Part
from redwood.buffers.randomness import StepRandom

# Maps slots (n,) to a score of each row stored there (n,).
Rate = Callable[[Tensor], Tensor]


class Sampler(Part, ABC):
    """Draws distinct rows; the draw of a step follows from the seed and the number of the step.

    Set in a subclass:
        needs: What it has to be told: `labels`, `tasks` and `features` of the stored rows, a `rate` with each draw.
    """

    def bind(self, seed: int) -> None:
        """Start with no row."""
        self.random = StepRandom(seed, "draws")

    @abstractmethod
    def draw(self, n: int, step: int, size: int, rate: Rate | None = None) -> Tensor:
        """At most `n` distinct ones of the first `size` slots (n,), int64; fewer if there are not that many to choose.

        Args:
            n: How many.
            step: Number of the draw.
            size: Number of rows stored.
            rate: Scores rows, for samplers that need it.
        """

    def placed(self, slots: Tensor, labels: Tensor | None, tasks: Tensor | None) -> None:
        """Rows (r,) were overwritten by samples of these labels (r,) and tasks (r,)."""

    def came(self, tasks: Tensor | None) -> None:
        """Samples of these tasks (n,) came in, whether they were kept or not."""

    def refresh(self, features: Tensor) -> None:
        """The features (size, d) of all stored rows, in the order of their slots, as they are now."""

    def state_dict(self) -> dict[str, Any]:
        """What the next draws depend on beside the step, as tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
