"""Curves of tests inside phases: each task and the mean of all, of returns and of successes."""

import numpy as np
import pytest

from redwood.engine.figures import tested_curves
from redwood.engine.figures.plots import draw_run
from redwood.settings.rl.outcomes import Evaluations
from tests.engine.figures.helpers import caught
from tests.engine.figures.test_reinforcement_plots import results

STEPS, RETURNS = [0, 100, 200, 300, 400], [[0.0, 10.0], [20.0, 10.0], [40.0, 20.0], [20.0, 40.0], [10.0, 90.0]]


def evaluations(success=None):
    rows = [[None, None]] * len(STEPS) if success is None else [[success, 1.0]] * len(STEPS)
    return Evaluations(steps=STEPS, curve_return=RETURNS, curve_std=RETURNS, curve_success=rows)


@pytest.mark.parametrize("success", [None, 0.5])
def test_each_task_and_the_mean(success, monkeypatch):
    figures = caught(monkeypatch, tested_curves)
    tested_curves.plot_test_curves(results(evaluations=evaluations(success)), "unused.png")
    panels = figures[0].axes
    drawn = [[line.get_ydata().tolist() for line in axes.lines] for axes in panels]
    assert drawn[0] == [*np.transpose(RETURNS).tolist(), np.mean(RETURNS, axis=1).tolist()]
    assert drawn[1:] == ([] if success is None else [[[50.0] * 5, [100.0] * 5, [75.0] * 5]])
    assert all(axes.lines[0].get_xdata().tolist() == STEPS and axes.get_xlim() == (0, 400) for axes in panels)
    assert {"task 0", "task 1", "mean"} <= {text.get_text() for text in panels[0].texts}


@pytest.mark.parametrize("found", [None, Evaluations(), evaluations()])
def test_only_runs_with_eval_every_have_the_picture(found, tmp_path):
    draw_run(results(evaluations=found), tmp_path)
    assert (tmp_path / "test_curves.png").exists() == (found is not None and bool(found.steps))


def test_tasks_that_were_not_tested_do_not_count():
    found = Evaluations(steps=[0, 1], curve_return=[[1.0, None], [None, None]])
    assert np.array_equal(found.average("curve_return"), [1.0, np.nan], equal_nan=True)
