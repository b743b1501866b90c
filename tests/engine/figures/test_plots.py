import itertools
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from redwood.engine.figures import plots, ranking
from redwood.engine.figures.drawing import spread
from redwood.settings.scores.results import RegressionResults, Results
from tests.engine.figures.helpers import caught


def run(num_tasks, num_phases=None, rows=None, decay=0.1, online=False, seed=0, method="rehearsal", kind=Results):
    phases = num_tasks if num_phases is None else num_phases
    since = np.arange(phases)[:, None] - np.arange(num_tasks)
    matrix = np.where(since >= 0, np.clip(0.95 - decay * since + 0.01 * seed, 0, 1), 0.02)
    if phases < num_tasks:
        matrix = np.linspace(0.7, 0.95, num_tasks)[None]
    return kind(
        setting="class_incremental",
        method=method,
        dataset="digits",
        seed=seed,
        num_phases=phases,
        accuracy_matrix=matrix[:rows].tolist(),
        online_curve=[(100 * k, 0.5 + 0.004 * k) for k in range(1, 100)] if online else [],
    )


RUNS = {
    "1 task": run(1),
    "2 tasks": run(2),
    "5 tasks": run(5),
    "5 tasks, all forgotten": run(5, decay=1.0, online=True),
    "3 of 5 tasks": run(5, rows=3),
    "10 tasks": run(10, decay=0.02),
    "20 tasks": run(20, decay=0.03, online=True),
    "60 tasks": run(60, decay=0.01),
    "single phase": run(5, num_phases=1),
    "single phase, 20 tasks": run(20, num_phases=1, online=True),
}


@pytest.fixture
def figures(monkeypatch):
    return caught(monkeypatch, plots, ranking)


def texts(figure):
    found = [text for axes in figure.axes for text in axes.texts]
    return found + ([figure._suptitle] if figure._suptitle else [])


def boxes_overlap(one, other):
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width > 1 and height > 1


def assert_no_text_is_covered(figure):
    # An annotation's own extent includes its leader, which may pass another label; the text itself must not.
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts(figure)]
    for (name, box), (other_name, other) in itertools.combinations(boxes, 2):
        assert not boxes_overlap(box, other), f"{name!r} covers {other_name!r}"


@pytest.mark.parametrize("results", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("plot", [plots.plot_accuracy_matrix, plots.plot_accuracy_curve])
@pytest.mark.few(5)
def test_texts_do_not_cover_each_other(plot, results, figures):
    plot(results, "unused.png")
    assert_no_text_is_covered(figures[0])
    title = figures[0]._suptitle.get_text()
    assert all(part in title for part in ("class_incremental", "rehearsal", "digits", "seed 0"))


class TestAccuracyMatrix:
    def test_cells_show_percent(self, figures):
        plots.plot_accuracy_matrix(run(3), "unused.png")
        shown = [text.get_text() for text in figures[0].axes[0].texts]
        assert shown == ["95.0", "2.0", "2.0", "85.0", "95.0", "2.0", "75.0", "85.0", "95.0"]

    def test_rows_are_phases(self, figures):
        plots.plot_accuracy_matrix(run(5, rows=3), "unused.png")
        axes = figures[0].axes[0]
        assert axes.images[0].get_array().shape == (3, 5)
        assert axes.get_xlabel() == "tested on task" and axes.get_ylabel() == "trained up to task"
        assert "3 of 5 phases" in figures[0]._suptitle.get_text()

    def test_cell_texts_contrast_with_their_ground(self, figures):
        plots.plot_accuracy_matrix(run(11, decay=0.1), "unused.png")
        axes = figures[0].axes[0]
        image = axes.images[0]
        for text in axes.texts:
            column, row = text.get_position()
            ground = luminance(image.to_rgba(image.get_array())[int(row), int(column), :3])
            ink = {"black": 0.0, "white": 1.0}[text.get_color()]
            ratio = (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05)
            assert ratio > 4, (text.get_text(), ratio)

    def test_many_tasks_are_shown_without_numbers(self, figures):
        plots.plot_accuracy_matrix(run(60), "unused.png")
        assert not figures[0].axes[0].texts


class TestAccuracyCurve:
    def test_lines_start_where_a_task_is_learned(self, figures):
        plots.plot_accuracy_curve(run(3), "unused.png")
        lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in figures[0].axes[0].lines]
        assert [x for x, _ in lines] == [[0, 1, 2], [1, 2], [2], [0, 1, 2]]
        assert lines[0][1] == pytest.approx([95, 85, 75])
        assert lines[-1][1] == pytest.approx([95, 90, 85])

    def test_single_phase_is_a_bar_per_task(self, figures):
        plots.plot_accuracy_curve(run(4, num_phases=1), "unused.png")
        heights = [bar.get_height() for bar in figures[0].axes[0].patches]
        assert heights == pytest.approx(list(100 * np.linspace(0.7, 0.95, 4)))

    def test_online_accuracy_has_its_own_panel(self, figures):
        plots.plot_accuracy_curve(run(3), "unused.png")
        plots.plot_accuracy_curve(run(3, online=True), "unused.png")
        assert [len(figure.axes) for figure in figures] == [1, 2]
        assert list(figures[1].axes[1].lines[0].get_xdata()) == [100 * k for k in range(1, 100)]


class TestComparison:
    RUNS = (
        ("finetune", [run(5, decay=1.0, seed=s, method="finetune") for s in (1, 2, 3)]),
        ("a_method_with_a_rather_long_name", [run(5, decay=0.05, seed=s) for s in (1, 2, 3)]),
        ("rehearsal", [run(5, decay=0.051, seed=s) for s in (1, 2, 3)]),
        ("ewc", [run(5, decay=0.2)]),
    )

    def test_best_on_top_with_deviation_over_seeds(self, figures):
        ranking.plot_comparison(self.RUNS, "unused.png")
        bars, courses = figures[0].axes
        names = [label.get_text() for label in bars.get_yticklabels()]
        assert names == ["finetune", "ewc", "rehearsal", "a_method_with_a_\nrather_long_name"]
        assert [text.get_text() for text in bars.texts] == ["19.4 ± 0.2", "55.0", "86.8 ± 1.0", "87.0 ± 1.0"]
        assert len(courses.lines) == 4 and len(courses.collections) == 3
        assert_no_text_is_covered(figures[0])

    @pytest.mark.parametrize("n_seeds", [1, 3])
    def test_numbers_behind_bars_are_shown_and_keep_off_the_next_panel(self, n_seeds, figures):
        for kind in (Results, RegressionResults):
            runs = [(f"m{n}", [run(5, decay=0.02 * n, seed=s, kind=kind) for s in range(n_seeds)]) for n in range(3)]
            ranking.plot_comparison(runs, "unused.png")
            bars, courses = figures[-1].axes[:2]
            room = figures[-1].dpi * 0.1
            for number in bars.texts:
                assert bars.get_xlim()[1] >= number.xy[0], "else matplotlib leaves it out"
                assert number.get_window_extent().x1 + room < courses.get_tightbbox().x0

    def test_single_phases_have_no_course(self, figures):
        ranking.plot_comparison([("a", [run(5, num_phases=1)]), ("b", [run(5)])], "unused.png")
        ranking.plot_comparison([("a", [run(5, num_phases=1)])], "unused.png")
        assert [len(figure.axes) for figure in figures] == [2, 1]
        assert len(figures[0].axes[1].lines) == 1

    def test_unfinished_seeds_are_drawn_as_far_as_all_came(self, figures):
        ranking.plot_comparison([("a", [run(5), run(5, rows=3)])], "unused.png")
        assert list(figures[0].axes[1].lines[0].get_xdata()) == [0, 1, 2]

    def test_refuses_nothing(self):
        with pytest.raises(ValueError, match="no results to compare"):
            ranking.plot_comparison([], "unused.png")


def test_pictures_are_written(tmp_path):
    plots.plot_accuracy_matrix(run(5), tmp_path / "new" / "matrix.png")
    plots.plot_accuracy_curve(run(5), tmp_path / "curve.png")
    ranking.plot_comparison([("a", [run(5)])], tmp_path / "comparison.svg")
    for name in ("new/matrix.png", "curve.png"):
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 300
            assert len(set(image.convert("L").tobytes())) > 20
    assert "<svg" in (tmp_path / "comparison.svg").read_text()


@pytest.mark.parametrize("plot", [plots.plot_accuracy_matrix, plots.plot_accuracy_curve])
def test_refuses_a_run_without_rows(plot, tmp_path):
    with pytest.raises(ValueError, match="no phase has been evaluated"):
        plot(run(5, rows=0), tmp_path / "unused.png")
    assert not list(tmp_path.iterdir())


def test_pyplot_is_never_imported(tmp_path):
    code = """if True:
        import sys
        from redwood.engine.figures import plots
        from redwood.settings.scores.results import Results
        results = Results(setting="s", method="m", dataset="d", seed=0, num_phases=1, accuracy_matrix=[[0.5]])
        plots.plot_accuracy_curve(results, sys.argv[1])
        assert "matplotlib.pyplot" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "curve.png")], check=True)


class TestSpread:
    def test_leaves_what_is_apart(self):
        assert spread([0.0, 10.0, 30.0], 5.0, 0.0, 100.0) == [0.0, 10.0, 30.0]

    def test_moves_a_cluster_apart_around_its_middle(self):
        assert spread([50.0, 50.0, 50.0], 4.0, 0.0, 100.0) == pytest.approx([46.0, 50.0, 54.0])

    def test_stays_within_bounds(self):
        assert spread([0.0, 0.0, 99.0, 100.0], 4.0, 0.0, 100.0) == pytest.approx([0.0, 4.0, 96.0, 100.0])

    def test_keeps_order_and_gaps(self):
        positions = sorted(np.random.default_rng(0).uniform(0, 100, 20).tolist())
        moved = spread(positions, 4.0, 0.0, 100.0)
        assert (np.diff(moved) >= 4.0 - 1e-9).all() and moved[0] >= 0 and moved[-1] <= 100


def luminance(colour):
    """Relative luminance of sRGB, as the Web Content Accessibility Guidelines define it."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_methods_that_share_a_colour_differ_in_their_lines(figures, tmp_path):
    ranking.plot_comparison([(f"method {n}", [run(5, decay=0.01 * n)]) for n in range(20)], tmp_path / "many.png")
    lines = [line for line in figures[-1].axes[1].lines if len(line.get_xdata()) == 5]
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines}
    assert len(lines) == len(looks) == 20


@pytest.mark.parametrize(("passes", "more"), [(1, ""), (3, " in the first pass")])
def test_only_the_first_of_several_passes_is_scored_online(passes, more, figures, tmp_path):
    results = run(5, online=True)
    results.cost.training_samples = passes * results.online_curve[-1][0]
    plots.plot_accuracy_curve(results, tmp_path / "curve.png")
    assert figures[-1].axes[-1].get_xlabel() == f"training samples seen{more}"


def test_titles_name_files_and_classes_without_their_place(figures):
    results = run(3)
    results.method, results.dataset = "/home/me/my_methods.py:Mine", "/data/of/mine/series.npz"
    plots.plot_accuracy_matrix(results, "unused.png")
    ranking.plot_comparison([("Mine", [results])], "unused.png")
    for figure in figures:
        assert "series.npz" in figure.get_suptitle() and "/" not in figure.get_suptitle()
    assert "· Mine ·" in figures[0].get_suptitle()


def test_the_names_of_tasks_stand_below_the_figure(figures, tmp_path):
    results = run(2)
    results.config["task_list"] = [{"name": "digits", "year": 1998}, {"name": "long " * 30}]
    plots.draw_run(results, tmp_path)
    for figure in figures:
        first, second = figure.get_supxlabel().splitlines()
        assert first == "task 0: digits, 1998"
        assert second.startswith("task 1: long long") and second.endswith(" ...") and len(second) < 80


@pytest.mark.parametrize("kind", ["5 tasks", "20 tasks", "single phase, 20 tasks"])
def test_short_names_of_tasks_stand_on_the_axes(kind, figures, tmp_path):
    """Such as dates; they do not run into each other."""
    results = run(20, num_phases=1, online=True) if kind.startswith("single") else run(int(kind.split()[0]))
    tasks = len(results.accuracy_matrix[0])
    results.task_names = [f"{2023 + month // 12}-{month % 12 + 1:02}" for month in range(tasks)]
    plots.plot_accuracy_matrix(results, tmp_path / "matrix.png")
    plots.plot_accuracy_curve(results, tmp_path / "curve.png")
    for figure in figures:
        labels = [label for label in figure.axes[0].get_xticklabels() if label.get_text()]
        assert [label.get_text() for label in labels] == results.task_names
        assert not figure.get_supxlabel()
        places = [label.get_window_extent() for label in labels]
        assert all(right.x1 - left.x1 > 8 for left, right in itertools.pairwise(places))
    if results.num_phases == 5:
        assert {"2023-01", "2023-05"} <= {text.get_text() for text in texts(figures[1])}


def test_long_names_of_tasks_stand_below(figures, tmp_path):
    results = run(2)
    results.task_names = ["a rather long name of a task", "b"]
    plots.plot_accuracy_matrix(results, tmp_path / "matrix.png")
    assert figures[-1].get_supxlabel() == "task 0: a rather long name of a task\ntask 1: b"
    assert [label.get_text() for label in figures[-1].axes[0].get_xticklabels()] == ["0", "1"]
