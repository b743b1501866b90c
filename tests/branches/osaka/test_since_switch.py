import numpy as np
import pytest

from redwood.branches.osaka import since_switch
from redwood.branches.osaka.results import OsakaResults
from tests.engine.figures.helpers import caught


def results(accuracy, steps):
    return OsakaResults(
        setting="osaka",
        method="finetune",
        dataset="digits",
        seed=0,
        num_phases=1,
        accuracy_matrix=[[0.5, None]],
        online_curve=[(25, 0.2), (75, 0.8)],
        config={"task_list": [{"name": "digits"}, {"name": "digits permuted"}]},
        since_switch={"accuracy": accuracy, "steps": steps},
    )


@pytest.fixture
def figure(monkeypatch, tmp_path):
    figures = caught(monkeypatch, since_switch)

    def draw(accuracy, steps):
        since_switch.plot_since_switch(results(accuracy, steps), tmp_path / "curve.png")
        return figures[-1]

    return draw


def test_a_line_for_each_domain_where_enough_visits_last_so_long(figure):
    panel, running = figure([[0.2, 0.5, 0.9], [0.3, 0.4, None]], [[5, 4, 1], [3, 3, 0]]).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in panel.lines}
    assert lines == {"digits": [[0, 20], [1, 50]], "digits permuted": [[0, 30], [1, 40]]}
    cumulative = running.lines[1]
    assert np.allclose(cumulative.get_ydata(), [20, 60])
    assert cumulative.get_label() == "cumulative, in the end 60.0"


def test_a_domain_that_was_never_visited_and_one_that_was_once(figure):
    panel, _ = figure([[0.2, 0.5], [None, None]], [[1, 1], [0, 0]]).axes
    assert [line.get_xydata().tolist() for line in panel.lines] == [[[0, 20], [1, 50]]]
