"""The end of a trial in a sweep: unlike a plain run, it may train only some phases, and ends early if it is bad."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """The rule that ends a run that tries options.

    Attributes:
        phases: Phases to train, from the first on; the stream is cut as for all of them.
        bars: The value that `Results.tuning_curve` has to reach after each phase; else the run ends. None: the run goes
            on in any case. There may be fewer bars than phases.
    """

    phases: int
    bars: tuple[float | None, ...] = ()

    def is_over(self, curve: Sequence[float | None], *, lower_is_better: bool) -> bool:
        """True if the run ends now; `curve` (P,) has the score on held-out samples after each phase so far."""
        done = len(curve)
        if done >= self.phases:
            return True
        value, bar = (curve[-1], self.bars[done - 1]) if 0 < done <= len(self.bars) else (None, None)
        if value is None or bar is None:
            return False
        return value > bar if lower_is_better else value < bar
