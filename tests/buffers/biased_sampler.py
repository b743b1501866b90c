"""A negative control: the draw of the reference implementation of distributed rehearsal, with its faults."""

from torch import Tensor

from redwood.buffers import ClassBalanced
from redwood.buffers.randomness import integers
from redwood.buffers.samplers import Rate


class FoldingSampler(ClassBalanced):
    """Draws distinct numbers over all slots that K classes of S samples would take, and folds them onto what is there.

    A number v stands for class v / S and sample v % S; either is taken modulo what is stored. So some classes and some
    samples come twice as often as others, or twice in one draw. The list of drawn numbers starts as zeros and is
    searched whole, which is why 0 counts as drawn.
    """

    def __init__(self, n_classes: int, quota: int) -> None:
        self.n_classes, self.quota = n_classes, quota

    def draw(self, n: int, step: int, size: int, rate: Rate | None = None) -> Tensor:
        """`n` slots (n,), whatever is stored."""
        stored = [self.groups.slots(name).tolist() for name in sorted(self.groups.sizes())]
        chosen = []
        for number in (1 + self.random.distinct(step, n, self.n_classes * self.quota - 1)).tolist():
            rows = stored[(number // self.quota) % len(stored)]
            chosen.append(rows[(number % self.quota) % len(rows)])
        return integers(chosen)
