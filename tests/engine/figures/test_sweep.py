"""The picture of a sweep: labels that keep apart, and choices in the order in which they were written."""

import itertools

import numpy as np
import pytest

from redwood.engine.figures import sweep
from redwood.engine.figures.sweep import Point, plot_sweep
from redwood.settings.scores.measure import ACCURACY
from tests.engine.figures.helpers import caught

CHOICES = {"policy": ["reservoir", "class_balanced", "ring"], "size": ["16", "128", "64"]}


@pytest.fixture(scope="module")
def figure():
    with pytest.MonkeyPatch.context() as patch:
        return drawn(caught(patch, sweep))


def drawn(figures):
    random = np.random.default_rng(0)
    points = [
        Point(
            number,
            {
                "lr": 0.03 * 10 ** float(random.uniform(0, 1.2)),
                "short": 0.03 * 10 ** float(random.uniform(0, 0.5)),
                "one": 1e-3,
                "decay": 10 ** -float(random.uniform(0, 6)),
                "momentum": float(random.uniform(0, 0.9)),
                "buffer": int(random.integers(1000, 50_000)),
                **{name: values[::-1][number % 3] for name, values in CHOICES.items()},
            },
            0.5,
        )
        for number in range(20)
    ]
    logs = ["lr", "short", "one", "decay"]
    shown = {"on_logs": logs, "choices": CHOICES, "lower_is_better": False, "title": "t"}
    plot_sweep(points, 3, ACCURACY, "unused.png", **shown)
    figures[0].draw_without_rendering()
    return figures[0]


def panel(figure, name):
    return next(axes for axes in figure.axes if axes.get_xlabel() == name)


def labels(axes):
    low, high = axes.get_xlim()
    ticks = axes.xaxis.get_major_ticks() + axes.xaxis.get_minor_ticks()
    return [tick.label1 for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_text()]


def test_labels_keep_apart(figure):
    for name in ("trial", "lr", "short", "one", "decay", "momentum", "buffer", "size"):
        shown = labels(panel(figure, name))
        places = sorted((label.get_window_extent() for label in shown), key=lambda box: box.x0)
        assert places and all(left.x1 < right.x0 for left, right in itertools.pairwise(places)), name


def test_every_trial_is_seen(figure):
    for axes in figure.axes:
        low, high = axes.get_xlim()
        places = axes.collections[0].get_offsets()[:, 0]
        assert low < places.min() and places.max() < high, axes.get_xlabel()


@pytest.mark.parametrize("name", list(CHOICES))
def test_choices_stand_in_the_order_in_which_they_were_written(figure, name):
    axes = panel(figure, name)
    assert [label.get_text().replace("\n", "") for label in labels(axes)] == CHOICES[name]
    first = axes.collections[0].get_offsets()[:, 0].tolist()
    assert first[:3] == [2, 1, 0]
