"""MIR: the rows that suffer most from the next update."""

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from redwood.buffers.samplers.base import Rate, Sampler
from redwood.core.errors import BufferInputError


class MaximallyInterfered(Sampler):
    """Draw the candidates of the highest score, out of uniform ones (MIR: Aljundi et al., 2019, equation 1).

    There are at least twice as many candidates as rows to draw, if so many are stored. The caller computes the scores;
    in the paper the score is the increase of a row's loss by the next update. Scores on a GPU are waited for.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"rate"})

    def __init__(self, candidates: int = 50) -> None:
        """Choose the number of rows that are scored in each draw.

        Raises:
            ValueError: If that is less than 1.
        """
        if candidates < 1:
            raise BufferInputError(f"candidates has to be at least 1, got {candidates}.")
        self.candidates = candidates

    @override
    def draw(self, n: int, step: int, size: int, rate: Rate | None = None) -> Tensor:
        """The `n` candidates of the highest score, in descending order of the score."""
        assert rate is not None
        slots = self.random.distinct(step, min(max(2 * n, self.candidates), size), size)
        if n >= len(slots):
            return slots
        best = rate(slots).topk(n).indices
        return slots[best.cpu()]
