"""What a trial of a sweep does otherwise than a run: it trains some phases only, and ends early where it does badly."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """When a run that tries options ends.

    Attributes:
        phases: Phases to train, from the first on; the stream is cut as for all of them.
        bars: What `Results.tuning_curve` has to reach after each phase for the run to go on; None: it goes on anyway.
            There may be fewer of them than phases.
    """

    phases: int
    bars: tuple[float | None, ...] = ()

    def is_over(self, curve: Sequence[float | None], *, lower_is_better: bool) -> bool:
        """Whether the run ends after the phases of `curve` (P,), its scores on held-out samples after each."""
        done = len(curve)
        if done >= self.phases:
            return True
        value, bar = (curve[-1], self.bars[done - 1]) if 0 < done <= len(self.bars) else (None, None)
        if value is None or bar is None:
            return False
        return value > bar if lower_is_better else value < bar
