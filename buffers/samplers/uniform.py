"""Every stored row equally often."""

from torch import Tensor

from redwood.buffers.samplers.base import Rate, Sampler


class Uniform(Sampler):
    """Draw uniformly over rows."""

    def draw(self, n: int, step: int, size: int, rate: Rate | None = None) -> Tensor:
        """Uniform over rows, without replacement."""
        return self.random.distinct(step, min(n, size), size)
