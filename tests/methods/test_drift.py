"""Each baseline wins where it should: a window where the rule moves on, neighbours where it returns or is local."""

from dataclasses import dataclass

import pytest

from redwood.branches.streaming.just_in_time import JustInTime
from redwood.branches.streaming.moving_window import MovingWindow
from tests.small_runs import run_here, small_setting


@dataclass
class Static(MovingWindow):
    """A model of the first samples, fitted once."""

    regression = True
    window: int = 200  # latest samples that the model is fitted to

    def add(self, x, y):
        if self.kept() < self.window:
            super().add(x, y)


def online_rmse(kind, method):
    transition = "gradual" if kind == "gradual" else "abrupt"
    setting = small_setting(
        "continual", dataset=f"drift_regression:{kind}", nb_tasks=None, passes=1, batch_size=10, transition=transition
    )
    return run_here(setting, method).metrics["online_rmse"]


@pytest.mark.parametrize(
    ("kind", "better", "worse", "bar"),
    [
        ("gradual", MovingWindow(window=60), Static(), 0.2),
        ("recurring", JustInTime(), MovingWindow(window=60), 0.7),
        ("regional", JustInTime(), MovingWindow(window=60), 0.7),
    ],
)
def test_who_wins(kind, better, worse, bar):
    assert online_rmse(kind, better) <= bar * online_rmse(kind, worse)
