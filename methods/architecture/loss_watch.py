"""Tell from the losses of a stream when it has changed."""

from collections import deque
from math import inf, sqrt
from statistics import fmean
from typing import Any

SMOOTHING = 0.2
SIGMAS = 3.0
# Further from the mean a loss counts for no more: then the average needs several of them to leave the range.
CLIP = 6.0


class LossWatch:
    """Fires once a moving average of the losses has left their usual range for some time.

    The average is exponentially weighted (a control chart: Roberts, 1959), and the range ends three standard deviations
    above the mean of a window of the latest losses that lay within it. Single losses deviate more than their average,
    so that losses that merely scatter hardly ever get there; single outliers never do.
    """

    def __init__(self, window: int, patience: int) -> None:
        """Start without a range.

        Args:
            window: Losses that the range is taken from; until there are as many, nothing fires.
            patience: Successive losses at which the average has to lie above the range.
        """
        self._patience = patience
        self._usual: deque[float] = deque(maxlen=window)
        self._average: float | None = None
        self._above = 0

    @property
    def window(self) -> int:
        """Losses that the range is taken from."""
        return self._usual.maxlen or 0

    @window.setter
    def window(self, losses: int) -> None:
        self._usual = deque(self._usual, maxlen=losses)

    def update(self, loss: float) -> bool:
        """Take in a loss; whether the stream has changed. The watch then starts anew."""
        limit, clip = self._limits()
        counted = min(loss, clip)
        average = counted if self._average is None else self._average + SMOOTHING * (counted - self._average)
        self._average = average
        self._above = self._above + 1 if average > limit else 0
        if loss <= limit:
            self._usual.append(loss)
        if self._above < self._patience:
            return False
        self._usual.clear()
        self._average, self._above = None, 0
        return True

    def _limits(self) -> tuple[float, float]:
        """The end of the range, and the value that larger losses count for; infinite until there is a range."""
        if len(self._usual) < self.window:
            return inf, inf
        mean = fmean(self._usual)
        sigma = sqrt(fmean((loss - mean) ** 2 for loss in self._usual))
        return mean + SIGMAS * sigma, mean + CLIP * sigma

    def state_dict(self) -> dict[str, Any]:
        """The losses of the window, their average, and how long it has lain above."""
        return {"usual": list(self._usual), "average": self._average, "above": self._above}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._usual = deque(state["usual"], maxlen=self.window)
        self._average, self._above = state["average"], state["above"]
