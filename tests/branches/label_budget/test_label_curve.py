import pytest

from redwood.branches.label_budget import label_curve
from redwood.branches.label_budget.label_curve import plot_label_curve
from redwood.branches.label_budget.results import LabelBudgetResults
from redwood.engine.figures.plots import draw_run
from tests.engine.figures.helpers import caught


def run(labels):
    online = [(50, 0.2), (100, 0.5), (150, 0.4), (200, 0.6)] if labels else []
    fields = {"num_phases": 2, "accuracy_matrix": [[0.9, 0.1], [0.5, 0.7]], "online_curve": online}
    return LabelBudgetResults(setting="s", method="m", dataset="d", seed=0, labels_used=labels, **fields)


def test_accuracy_against_labels_used(monkeypatch):
    figures = caught(monkeypatch, label_curve)
    plot_label_curve(run([[5, 10], [2, 6]]), "unused.png")
    online, average = figures[0].axes[0].lines
    assert online.get_xdata().tolist() == [5, 10, 12, 16]
    assert online.get_ydata() == pytest.approx([20, 50, 40, 60])
    assert average.get_xdata().tolist() == [10, 16]
    assert average.get_ydata() == pytest.approx([90, 60])


def test_it_is_drawn_of_each_run_that_asks_for_labels(tmp_path):
    for labels in ([[5, 10], [2, 6]], [[0, 0], [0, 0]]):
        draw_run(run(labels), tmp_path)
        (tmp_path / "label_curve.png").unlink()
