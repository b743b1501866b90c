import numpy as np
import pytest
from matplotlib.figure import Figure

from redwood.engine.figures import ranking
from redwood.engine.figures.drawing import scale_of
from redwood.engine.figures.plots import draw_online, plot_accuracy_curve, plot_accuracy_matrix
from redwood.settings.rl.results import ReturnResults
from redwood.settings.scores.measure import ACCURACY, RETURN, RMSE
from tests.engine.figures.helpers import caught


def results(sign=1, **options):
    matrix = [[300, 20], [40, 480]]
    curve = [(100, 20), (200, 300), (300, 30), (400, 480)]
    return ReturnResults(
        **{
            "setting": "incremental_rl",
            "method": "ppo",
            "dataset": "CartPole-v1",
            "seed": 0,
            "num_phases": 2,
            "accuracy_matrix": [[sign * value for value in row] for row in matrix],
            "online_curve": [(step, sign * value) for step, value in curve],
            "config": {"steps_per_task": 200},
        }
        | options
    )


@pytest.mark.parametrize(
    ("measure", "values", "ends"),
    [
        (ACCURACY, [20, 60], (0, 110)),
        (RMSE, [0.5, 2.0], (0, 2.2)),
        (RETURN, [-200, -1000], (-1100, 100)),
        (RETURN, [-10, 100], (-11, 110)),
        (RETURN, [0, 0], (0, 1.1)),
    ],
)
def test_scales_hold_zero_and_all_values(measure, values, ends):
    assert scale_of(measure, np.array(values, dtype=float), room=1.1) == pytest.approx(ends)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("plot", [plot_accuracy_curve, plot_accuracy_matrix])
def test_pictures_of_returns(sign, plot, tmp_path):
    plot(results(sign), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 5000


def test_a_ranking_shows_returns_below_zero(monkeypatch):
    figures = caught(monkeypatch, ranking)
    ranking.plot_comparison([("a", [results(-1)]), ("b", [results(-2)])], "unused.png")
    low, high = figures[0].axes[0].get_xlim()
    assert low <= -520 and high >= 0


def test_tasks_are_bands_behind_the_training_returns():
    axes = Figure().add_subplot()
    draw_online(axes, results())
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == (200, 200)
    assert [text.get_text() for text in axes.texts] == ["task 0", "task 1"]
    assert axes.get_xlabel() == "training steps seen"


def test_bands_stay_where_the_last_task_ends_no_episode():
    axes = Figure().add_subplot()
    draw_online(axes, results(online_curve=[(100, 20), (200, 300)]))
    assert axes.get_xlim() == (0, 400)
    assert [band.get_x() for band in axes.patches] == [200]


def test_one_phase_has_no_bands():
    axes = Figure().add_subplot()
    draw_online(axes, results(num_phases=1, accuracy_matrix=[[20, 30]]))
    assert not axes.patches
