import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.text import Text
from PIL import Image

from redwood.engine.figures import comparison as comparison_plot
from redwood.engine.figures import ranking
from redwood.engine.figures.comparison import draw_comparison, draw_comparisons
from redwood.engine.figures.drawing import looks_of
from redwood.engine.pair_results import PairResults, methods_in_order
from redwood.settings.rl.results import ReturnResults
from redwood.settings.scores.cost import Cost
from redwood.settings.scores.results import RegressionResults, Results
from tests.engine.figures.helpers import caught

VALUES = {"random": (0.1, 0.0), "finetune": (0.3, 1e9), "ewc": (0.29, 2e9), "ewc+rehearsal": (0.8, 4e9)}


def run(setting, method, seed=0, kind=Results, scale=1.0):
    value, flops = VALUES[method]
    return kind(
        setting=setting,
        method=method,
        dataset="digits",
        seed=seed,
        num_phases=2,
        accuracy_matrix=(scale * np.array([[value, 0.0], [value, value + 0.01 * seed]])).tolist(),
        cost=Cost(training_flops=flops),
        versions={},
    )


def cells(settings=("continual", "class_incremental"), methods=tuple(VALUES), **options):
    return [
        PairResults(setting, method, [run(setting, method, seed, **options) for seed in (0, 1)])
        for setting, method in itertools.product(settings, methods)
    ]


@pytest.fixture
def figures(monkeypatch):
    return caught(monkeypatch, comparison_plot, ranking)


def draw(figures, some, looks=None):
    draw_comparison(some, "unused.png", looks)
    figure = figures[-1]
    axes = {axes.get_title() or axes.get_label(): axes for axes in figure.axes}
    return figure.axes[0], axes


def names(axes):
    return [label.get_text() for label in axes]


def means(chart):
    return [text.get_text().partition("\n")[0] for text in chart.texts]


class TestMap:
    def test_means_in_percent(self, figures):
        chart, _ = draw(figures, cells())
        assert names(chart.get_xticklabels()) == list(VALUES)
        assert names(chart.get_yticklabels()) == ["continual", "class_incremental"]
        assert means(chart) == ["10.2", "30.2", "29.2", "80.2"] * 2
        assert chart.get_legend() is None

    def test_what_does_not_apply_and_what_failed(self, figures):
        some = cells()
        del some[1]
        some[2] = PairResults("continual", "ewc+rehearsal", [], failure="it broke")
        some[5] = PairResults("class_incremental", "ewc", some[5].results[:1], failure="it broke")
        chart, _ = draw(figures, some)
        assert means(chart) == ["10.2", "29.2", "10.2", "30.2", "29.0*", "80.2"]
        assert list(chart.images[0].get_array().mask[0]) == [False, True, False, True]
        hatched = [(patch.get_x() + 0.5, patch.get_y() + 0.5) for patch in chart.patches if patch.get_hatch()]
        assert hatched == [(3, 0)]
        key = ["does not apply", "failed", "mean of the seeds that did not fail"]
        assert names(chart.get_legend().get_texts()) == key

    def test_large_errors_fit_their_cells(self, figures):
        chart, _ = draw(figures, cells(kind=RegressionResults, scale=12_345.0))
        assert means(chart)[:4] == ["1265.4", "3734.4", "3610.9", "9906.9"]

    def test_title(self, figures):
        draw(figures, cells())
        assert figures[0].get_suptitle() == "digits · 2 seeds: mean and standard deviation"

    def test_deviations_over_seeds_below_the_means(self, figures):
        some = cells()
        some[0] = PairResults("continual", "random", some[0].results[:1])
        some[1] = PairResults("continual", "finetune", [run("continual", "finetune", seed) for seed in (0, 40)])
        chart, _ = draw(figures, some)
        below = [text.get_text().partition("\n")[2] for text in chart.texts]
        assert below[:3] == ["", "± 14.1", "± 0.4"], "a single run has none"
        height = chart.transData.transform((0, 0))[1] - chart.transData.transform((0, 1))[1]
        assert all(text.get_window_extent().height < height for text in chart.texts)

    def test_of_errors(self, figures):
        chart, panels = draw(figures, cells(kind=RegressionResults, scale=100.0))
        assert means(chart)[:4] == ["10.250", "30.250", "29.250", "80.250"]
        image = chart.images[0]
        low, high = (sum(image.cmap(image.norm(value))[:3]) for value in (10.25, 80.25))
        assert low > high, "light is good, of errors as well"
        staircase = panels["continual"].lines[0]
        assert list(staircase.get_ydata()) == pytest.approx([10.25, 10.25]), "random costs nothing and is best"


class TestTradeOff:
    def test_a_panel_for_each_setting(self, figures):
        _, panels = draw(figures, cells())
        for setting in ("continual", "class_incremental"):
            axes = panels[setting]
            assert axes.get_xscale() == "log"
            (staircase,) = axes.lines
            assert list(staircase.get_xdata()[:-1]) == pytest.approx([1e8, 1e9, 4e9]), "0 stands a decade to the left"
            assert list(staircase.get_ydata()[:-1]) == pytest.approx([10.25, 30.25, 80.25])
            assert {text.get_text() for text in axes.texts} == set(VALUES), "few enough to name all"
            assert names(axes.get_xticklabels())[0] == "0"

    def test_flops_for_all_uses_count(self, figures):
        some = cells()
        some[1].results[0].cost.flops = {"training": [1e9], "validation": [2e9], "selection": [0.0], "search": [0.0]}
        _, panels = draw(figures, some)
        places = sorted(float(points.get_offsets()[0][0]) for points in panels["continual"].collections)
        assert places == pytest.approx([1e8, 2e9, 2e9, 4e9]), "the mean of 3e9 and, of an older file, 1e9"

    def test_read_from_files(self, figures, tmp_path):
        runs: dict[str, list[Results]] = {}
        for cell in cells(("continual",)):
            for result in cell.results:
                result.save(tmp_path / "results.json")
                runs.setdefault(cell.method, []).append(Results.load(tmp_path / "results.json"))
        ranking.plot_comparison(list(runs.items()), "unused.png")
        trade_off = figures[-1].axes[-1]
        assert trade_off.get_xlabel() == "total FLOPs"
        assert {text.get_text() for text in trade_off.texts} == set(VALUES)

    def test_none_where_nothing_was_counted(self, figures):
        _, panels = draw(figures, cells(methods=("random", "ewc")) + cells(("continual",), ("finetune",))[:1])
        assert "class_incremental" not in panels and "continual" in panels

    @pytest.mark.parametrize(("settings", "drawn"), [(6, 6), (7, 0)])
    def test_no_panels_where_they_would_be_too_small(self, settings, drawn, figures):
        _, panels = draw(figures, cells([f"setting_{number}" for number in range(settings)]))
        assert sum(name.startswith("setting_") for name in panels) == drawn

    @pytest.mark.parametrize(("count", "panels", "shape"), [(3, 2, (1, 2)), (30, 4, (1, 4)), (4, 4, (2, 2))])
    def test_names_keep_apart_and_inside(self, count, panels, shape, figures, monkeypatch):
        rng = np.random.default_rng(1)
        many = {f"method_{i}": (float(rng.uniform(0.2, 0.9)), 10 ** float(rng.uniform(8, 11))) for i in range(count)}
        monkeypatch.setattr("tests.engine.figures.test_comparison.VALUES", many)
        _, drawn = draw(figures, cells([f"setting_{i}" for i in range(panels)], methods=tuple(many)))
        assert drawn["setting_0"].get_subplotspec().get_gridspec().get_geometry() == shape
        renderer = figures[0]._get_renderer()
        for axes in figures[0].axes:
            boxes = [Text.get_window_extent(text) for text in axes.texts]
            for one, other in itertools.combinations(boxes, 2):
                width, height = (
                    min(one.x1, other.x1) - max(one.x0, other.x0),
                    min(one.y1, other.y1) - max(one.y0, other.y0),
                )
                assert not (width > 1 and height > 1)
            frame = axes.get_window_extent(renderer)
            if axes.lines:
                assert all(box.x0 >= frame.x0 - 1 for box in boxes)

    @pytest.mark.parametrize(("kind", "scale", "least"), [(Results, 1.0, 10.0), (RegressionResults, 7.0, 0.69)])
    def test_noise_does_not_fill_the_panel(self, kind, scale, least, figures, monkeypatch):
        close = {"a": (0.9, 1e9), "b": (0.9025, 2e9), "c": (0.901, 3e9)}
        monkeypatch.setattr("tests.engine.figures.test_comparison.VALUES", close)
        _, panels = draw(figures, cells(methods=tuple(close), kind=kind, scale=scale))
        low, high = panels["continual"].get_ylim()
        assert high - low > 0.9 * least

    def test_long_names_stay_inside_and_ticks_keep_apart(self, figures, monkeypatch):
        long = {"a_very_long_method_name_with_many_parts": (0.5, 1e10), "ewc+rehearsal+augmentation": (0.7, 2e10)}
        long["c"] = (0.6, 2.5e10)
        monkeypatch.setattr("tests.engine.figures.test_comparison.VALUES", long)
        _, panels = draw(figures, cells(methods=tuple(long)))
        frame = panels["continual"].get_window_extent()
        assert all(text.get_window_extent().x0 >= frame.x0 - 1 for text in panels["continual"].texts)
        ticks = [label.get_window_extent() for label in panels["continual"].get_xticklabels()]
        assert all(one.x1 < other.x0 for one, other in itertools.pairwise(ticks))


class TestLooks:
    def test_they_follow_names_whatever_the_results_are(self, figures, monkeypatch):
        draw(figures, cells(("continual",)))
        best_first = {method: (1 - value, flops) for method, (value, flops) in VALUES.items()}
        monkeypatch.setattr("tests.engine.figures.test_comparison.VALUES", best_first)
        draw(figures, cells(("continual",), tuple(reversed(best_first))))
        first, second = (bars_of(figure.axes[0]) for figure in figures)
        assert first == second and len(set(first.values())) == 4

    def test_they_are_those_of_all_pictures_of_the_comparison(self, figures):
        everyone = looks_of([f"agent_{n}" for n in range(9)] + list(VALUES))
        draw(figures, cells(("continual",), ("finetune", "ewc")), everyone)
        draw(figures, cells(("continual",)), everyone)
        some, all_of_them = (bars_of(figure.axes[0]) for figure in figures)
        assert some == {name: all_of_them[name] for name in some}

    def test_the_panels_below_a_map_have_them_too(self, figures):
        _, panels = draw(figures, cells())
        looks = looks_of(VALUES)
        shades = sorted(tuple(points.get_facecolor()[0]) for points in panels["continual"].collections)
        assert shades == sorted(to_rgba(look.colour) for look in looks.values())


def test_an_upper_bound_is_a_dashed_line_and_takes_no_colour_and_no_place_on_the_front(figures):
    some = cells(("continual",), ("random", "finetune", "ewc"))
    bound = PairResults("continual", "a bound", [run("cumulative", "ewc+rehearsal")], ran_under="cumulative")
    draw(figures, some)
    draw(figures, [*some, bound])
    (bars, _, front), (bars_beside, courses, front_beside) = (figure.axes for figure in figures)
    assert {name: bars_of(bars_beside)[name] for name in bars_of(bars)} == bars_of(bars)
    (line,) = [line for line in bars_beside.lines if line.get_linestyle() == "--"]
    assert line.get_xdata()[0] == pytest.approx(100 * bound.objective)
    assert [line.get_linestyle() for line in courses.lines].count("--") == 1
    (steps,), (steps_beside,) = (
        [line.get_ydata() for line in axes.lines if line.get_drawstyle() == "steps-post"]
        for axes in (front, front_beside)
    )
    assert set(steps) == set(steps_beside)
    assert "a bound" in {text.get_text() for text in front_beside.texts}
    assert figures[1].get_suptitle() == figures[0].get_suptitle(), "it names the setting of the methods"


def bars_of(axes):
    """The colour and the hatch of each bar, by its name."""
    rows = {round(patch.get_y() + patch.get_height() / 2): patch for patch in axes.patches}
    labels = names(axes.get_yticklabels())
    return {labels[row]: (patch.get_facecolor(), patch.get_hatch()) for row, patch in rows.items()}


class TestOneSetting:
    def test_bars_courses_and_trade_off(self, figures):
        draw(figures, cells(("continual",)))
        bars, courses, trade_off = figures[0].axes
        assert names(bars.get_yticklabels()) == ["random", "ewc", "finetune", "ewc+rehearsal"]
        assert len(courses.lines) == 4
        assert figures[0].get_figwidth() > 2 * figures[0].get_figheight(), "three panels side by side"
        assert {text.get_text() for text in trade_off.texts} == set(VALUES), "there is room to name all"

    def test_bands_of_percentages_end_at_100(self, figures):
        some = cells(("continual",), ("finetune", "ewc"))
        for seed, result in enumerate(some[0].results):
            result.accuracy_matrix = [[1.0 - 0.3 * seed] * 2] * 2
        draw(figures, some)
        _, courses, *_ = figures[0].axes
        assert max(band.get_paths()[0].vertices[:, 1].max() for band in courses.collections) == 100

    @pytest.mark.parametrize(
        ("own", "other", "ticks"),
        [
            (["may", "june"], ["may", "june"], ["may", "june"]),
            (["may", "june"], ["june", "may"], ["0", "1"]),
            ([], [], ["0", "1"]),
            (["a name of many letters", "june"], ["a name of many letters", "june"], ["0", "1"]),
        ],
    )
    def test_courses_have_the_names_of_the_tasks_if_all_agree(self, own, other, ticks, figures):
        one, two = cells(["continual"], ["finetune", "ewc"])
        for pair, task_names in ((one, own), (two, other)):
            for result in pair.results:
                result.task_names = task_names
        draw(figures, [one, two])
        assert names(figures[0].axes[1].get_xticklabels()) == ticks

    def test_the_trade_off_counts_tuning(self, figures):
        pairs = cells(("continual",))
        tuned = next(pair for pair in pairs if pair.method == "ewc")
        for run in tuned.results:
            run.cost.tuning = {"trials": 3, "flops": 1e12, "seconds": 1.0}
        draw(figures, pairs)
        trade_off = figures[0].axes[-1]
        assert trade_off.get_xlabel() == "total FLOPs, with tuning"
        places = [float(points.get_offsets()[0][0]) for points in trade_off.collections]
        assert max(places) == pytest.approx(1e12 + tuned.total_flops)

    def test_one_method_has_no_front(self, figures):
        draw(figures, cells(methods=("ewc",)))
        bars, _ = figures[0].axes
        assert names(bars.get_yticklabels()) == ["continual", "class_incremental"]


def test_order_of_methods():
    pairs = [("a", "x"), ("a", "z"), ("b", "x"), ("b", "y"), ("b", "z"), ("c", "w"), ("c", "x")]
    assert methods_in_order(PairResults(*pair, []) for pair in pairs) == ["w", "x", "y", "z"]


def test_picture_is_written(tmp_path):
    draw_comparison(cells(), tmp_path / "comparison.png")
    with Image.open(tmp_path / "comparison.png") as image:
        assert min(image.size) > 500
        assert len(set(image.convert("L").tobytes())) > 20


def test_a_picture_for_each_measure_and_each_of_several_settings(tmp_path):
    """None is drawn twice: the picture of a measure under one setting has the courses already."""
    returns = [PairResults("incremental_rl", "ewc", [run("incremental_rl", "ewc", kind=ReturnResults)])]
    draw_comparisons([*cells(), *returns], tmp_path)
    settings = ("continual", "class_incremental")
    names = {"comparison", "comparison_return", *(f"comparison_{setting}" for setting in settings)}
    assert {path.stem for path in tmp_path.iterdir()} == names
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".svg"}


def test_settings_whose_names_make_one_file_name_have_a_file_each(tmp_path):
    pairs = [PairResults(key, method, [run(key, method)]) for key in ("a-b", "a_b") for method in ("ewc", "finetune")]
    draw_comparisons(pairs, tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {"comparison", "comparison_a_b", "comparison_a_b_2"}


def test_refuses_nothing():
    with pytest.raises(ValueError, match="no results to compare"):
        draw_comparison(
            [PairResults(s, m, [], failure="it broke") for s, m in itertools.product("ab", "cd")], "unused.png"
        )


class TestReadable:
    @pytest.mark.parametrize("least", [1e9, 2.1e9, 6e9])
    def test_costs_have_two_ticks_at_least(self, least):
        few = [("a", least), ("b", 1.2 * least), ("c", 3.9 * least)]
        runs = [(name, [replace(run("continual", "ewc"), cost=Cost(training_flops=cost))]) for name, cost in few]
        axes = ranking.ranking_of(runs).axes[-1]
        low, high = axes.get_xlim()
        assert sum(low <= tick <= high for tick in axes.get_xticks()) >= 2

    def test_one_bar_is_no_block(self):
        axes = ranking.ranking_of([("ewc", [run("continual", "ewc")])]).axes[0]
        low, high = axes.get_ylim()
        assert axes.patches[0].get_height() < 0.25 * (high - low)

    def test_the_line_of_a_bound_passes_behind_numbers(self):
        some = cells(("continual",))
        some[-1] = replace(some[-1], ran_under="traditional")
        axes = comparison_plot.comparison_of(some).axes[0]
        numbers = [text for text in axes.texts if "±" in text.get_text()]
        assert len(numbers) == 4 and all(text.get_bbox_patch() is not None for text in numbers)
        assert min(text.get_zorder() for text in numbers) > max(line.get_zorder() for line in axes.lines)
