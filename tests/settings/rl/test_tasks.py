"""Tasks that come back: `--tasks a b a b` is two tasks, each of which is met twice."""

import pytest

from redwood.core.errors import InvalidOptionError
from redwood.engine.figures.plots import plot_accuracy_curve, plot_accuracy_matrix
from redwood.settings.rl.results import ReturnResults
from redwood.settings.rl.tasks import Task, without_repeats
from redwood.settings.rl.tree import (
    ContinualRLSetting,
    IncrementalRLSetting,
    TaskAgnosticRLSetting,
    TaskIncrementalRLSetting,
    TraditionalRLSetting,
)
from tests.settings.rl.clock import LIMIT, STEPS, Recorder, clock, record

A, B = "gain=1", "gain=5"


def coming_back(cls, *tasks, **options):
    return clock(cls, attributes=[], nb_tasks=None, tasks=list(tasks), **options)


def test_tasks_are_numbered_as_they_come():
    a, b = Task(0, {"gain": 1.0}), Task(0, {"gain": 5.0})
    assert without_repeats([b, a, b, b]) == ([b, a], [0, 1, 0, 0])


@pytest.mark.parametrize("cls", [IncrementalRLSetting, TaskIncrementalRLSetting])
def test_a_phase_for_each_meeting_and_a_column_for_each_task(cls):
    results, log = record(coming_back(cls, A, B, A, B))
    assert [fitted.task_id for fitted in log.fitted] == [0, 1, 0, 1]
    assert [set(fitted.gains) for fitted in log.fitted] == [{1.0}, {5.0}, {1.0}, {5.0}]
    assert [set(fitted.ids) for fitted in log.fitted] == [{0}, {1}, {0}, {1}]
    assert [hook[1] for hook in log.hooks if hook[0] == "on_task_start"] == [0, 1, 0, 1]
    assert results.return_matrix == [[LIMIT * 1.0, LIMIT * 5.0]] * 4
    assert (results.num_phases, results.phase_tasks) == (4, [0, 1, 0, 1])
    assert results.online_curve[-1][0] == results.cost.training_samples == 4 * STEPS
    assert results.areas == pytest.approx([7, 35, 7, 35])
    assert log.view["num_tasks"] == 2


@pytest.mark.parametrize("cls", [ContinualRLSetting, TaskAgnosticRLSetting, TraditionalRLSetting])
def test_one_phase_holds_all_meetings(cls):
    results, log = record(coming_back(cls, A, B, A, B))
    gains = log.fitted[0].gains
    assert len(gains) == 4 * STEPS
    assert results.return_matrix == [[LIMIT * 1.0, LIMIT * 5.0]]
    assert results.phase_tasks is None
    assert results.steps_per_phase == 4 * STEPS
    if cls is TaskAgnosticRLSetting:
        assert gains == [gain for gain in (1.0, 5.0) * 2 for _ in range(STEPS)]
    if cls is ContinualRLSetting:
        assert (gains[0], gains[-1]) == (1.0, pytest.approx(5))
        turns = [i for i in range(1, len(gains) - 1) if (gains[i] > gains[i - 1]) != (gains[i + 1] > gains[i])]
        assert len(turns) == 2


def test_physics_are_compared_and_not_their_texts():
    assert coming_back(IncrementalRLSetting, "default", "gain=2.0", "gain = 3").order == [0, 0, 1]


def test_number_of_tasks():
    assert coming_back(IncrementalRLSetting, A, B, A, B).num_tasks == 2
    with pytest.raises(InvalidOptionError, match="--nb_tasks 4 contradicts --tasks, which has 2; leave it out"):
        clock(IncrementalRLSetting, attributes=[], nb_tasks=4, tasks=[A, B, A, B]).open_stream()


def returns(*rows, **fields):
    return ReturnResults(
        setting="incremental_rl",
        method="ppo",
        dataset="any",
        seed=0,
        num_phases=4,
        phase_tasks=[0, 1, 0, 1],
        accuracy_matrix=[list(row) for row in rows],
        config={"steps_per_task": 10},
        **fields,
    )


class TestMetrics:
    R = ((100, 0), (60, 50), (120, 30), (90, 80))

    def test_forgetting_is_the_mean_over_phases(self):
        # From each phase to the end: 100 -> 90, 50 -> 80, 120 -> 90, 80 -> 80.
        assert returns(*self.R).metrics["forgetting"] == pytest.approx((10 - 30 + 30 + 0) / 4)

    def test_forward_transfer_compares_each_phase_with_its_task(self):
        results = returns(
            *self.R,
            untrained_accuracy=[0.0, 0.0],
            reference={"returns": [100.0, 50.0], "areas": [50.0, 10.0]},
            online_curve=[(10, 60.0), (20, 20.0), (30, 80.0), (40, 30.0)],
        )
        # Normalised areas .6 .4 .8 .6 of the run, .5 .2 .5 .2 of the reference.
        expected = [(0.6 - 0.5) / 0.5, (0.4 - 0.2) / 0.8, (0.8 - 0.5) / 0.5, (0.6 - 0.2) / 0.8]
        assert results.metrics["forward_transfer"] == pytest.approx(sum(expected) / 4)
        assert results.metrics["normalised_return"] == pytest.approx((90 / 100 + 80 / 50) / 2)


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_pictures_name_the_task_of_each_phase(rows, tmp_path, monkeypatch):
    shown = []

    def keep(figure, path):
        figure.canvas.draw()
        shown.append(
            [label.get_text() for axes in figure.axes for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
        )

    monkeypatch.setattr("redwood.engine.figures.plots.save_figure", keep)
    results = returns(*TestMetrics.R[:rows], online_curve=[(10 * (row + 1), 1.0) for row in range(rows)])
    plot_accuracy_matrix(results, tmp_path / "matrix.png")
    plot_accuracy_curve(results, tmp_path / "curve.png")
    if rows > 1:
        assert shown[0][:2] == ["0", "1"]
        assert shown[0][2 : 2 + rows] == ["0", "1", "0", "1"][:rows]
    assert shown[1][:4] == ["0", "1", "0", "1"]


@pytest.mark.parametrize("change", ["length=-1", "masspole=0"])
def test_lengths_and_masses_are_above_zero(change):
    with pytest.raises(
        InvalidOptionError, match=rf"--tasks {change}: .* is a length or a mass, which has to be above 0"
    ):
        IncrementalRLSetting(env="CartPole-v1", tasks=["default", change]).open_stream()


class TestListsOfEnvironments:
    def test_blanks_do_not_count(self):
        assert IncrementalRLSetting(env="CartPole-v0, CartPole-v1").env == "CartPole-v0,CartPole-v1"

    def test_an_empty_place_is_named(self):
        with pytest.raises(InvalidOptionError, match="--env CartPole-v0,,CartPole-v1 names no environment at place 2"):
            IncrementalRLSetting(env="CartPole-v0,,CartPole-v1")


def test_no_point_of_a_curve_inside_a_phase_is_told():
    with pytest.warns(UserWarning, match="--eval_every 1000 has no point inside a phase, which has 500 steps"):
        IncrementalRLSetting(env="CartPole-v1", steps_per_task=500, eval_every=1000).open_stream().check(Recorder())
