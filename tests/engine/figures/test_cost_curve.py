import numpy as np
import pytest
from PIL import Image

from redwood.engine.figures import cost_curve
from redwood.engine.figures.cost_curve import has_cost_curve, plot_cost_curve
from redwood.engine.figures.plots import draw_run
from redwood.settings.scores.cost import USES, Cost
from redwood.settings.scores.results import Results
from tests.engine.figures.helpers import caught

FLOPS = {"training": [1e9, 2e9, 1e9], "validation": [1e8, 1e8, 1e8], "selection": [0.0] * 3, "search": [0.0, 0.0, 4e9]}


def run(flops=FLOPS, rows=3, **fields):
    matrix = [[0.9, 0.1, 0.1], [0.7, 0.9, 0.1], [0.5, 0.7, 0.9]][:rows]
    fields = {"num_phases": 3} | fields
    cost = Cost(training_flops=8e9, flops=flops)
    return Results(setting="s", method="m", dataset="d", seed=0, accuracy_matrix=matrix, cost=cost, **fields)


@pytest.fixture
def figures(monkeypatch):
    return caught(monkeypatch, cost_curve)


class TestWhatIsDrawn:
    def test_average_against_flops_so_far(self, figures):
        plot_cost_curve(run(), "unused.png")
        (line,) = figures[0].axes[0].lines
        assert line.get_xdata() == pytest.approx([1.1e9, 3.2e9, 8.3e9])
        assert line.get_ydata() == pytest.approx([90, 80, 70])
        assert [text.get_text() for text in figures[0].axes[0].texts] == ["task 0", "task 1", "task 2"]

    def test_the_names_of_the_axes_are_no_longer_than_these(self, figures):
        plot_cost_curve(run(), "unused.png")
        for axes in figures[0].axes:
            assert axes.yaxis.label.get_window_extent().height < axes.get_window_extent().height

    def test_bars_of_the_uses_stand_on_each_other(self, figures):
        plot_cost_curve(run(), "unused.png")
        axes = figures[0].axes[1]
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "validation", "search"]
        last = [bars.patches[2] for bars in axes.containers]
        assert [bar.get_height() for bar in last] == pytest.approx([4e9, 3e8, 4e9])
        assert [bar.get_y() for bar in last] == pytest.approx([0, 4e9, 4.3e9])

    def test_a_task_that_comes_back(self, figures):
        results = run(flops={use: [1e9] * 3 for use in USES}, phase_tasks=[0, 1, 0])
        results.accuracy_matrix = [row[:2] for row in results.accuracy_matrix]
        plot_cost_curve(results, "unused.png")
        assert [text.get_text() for text in figures[0].axes[0].texts] == ["task 0", "task 1", "task 0"]

    def test_many_phases(self, figures):
        n = 60
        results = run({use: [1e9] * n for use in USES}, num_phases=n)
        results.accuracy_matrix = np.full((n, n), 0.5).tolist()
        plot_cost_curve(results, "unused.png")
        assert not figures[0].axes[0].texts


@pytest.mark.parametrize(
    ("results", "drawn"),
    [
        (run(), True),
        (run(flops=None), False),
        (run(flops={use: [0.0] * 3 for use in USES}), False),
        (run(flops={use: [1.0] for use in USES}, rows=1, num_phases=1), False),
    ],
    ids=["phases", "an old file", "nothing computed", "one phase"],
)
def test_only_where_there_is_something_to_draw(results, drawn, tmp_path):
    assert has_cost_curve(results) == drawn
    draw_run(results, tmp_path)
    assert (tmp_path / "cost_curve.png").exists() == drawn
    if drawn:
        with Image.open(tmp_path / "cost_curve.png") as image:
            assert min(image.size) > 500
