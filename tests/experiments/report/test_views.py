import re
import sys
from dataclasses import dataclass, replace

import pytest
from matplotlib.figure import Figure

from redwood.core.errors import RedwoodError
from redwood.engine.pair_results import PairResults
from redwood.engine.significance import significance_of
from redwood.experiments.comparisons.comparison import Comparison
from redwood.settings.scores.results import Results
from tests.experiments.report.made import made_results

RUN = made_results("class_incremental", "ewc")
PAIR = PairResults("class_incremental", "ewc", [RUN, made_results("class_incremental", "ewc", seed=1)])
FAILED = PairResults("class_incremental", "file.py:<Own>", [], "It broke.")
OTHER = PairResults("class_incremental", "rehearsal", [made_results("class_incremental", "rehearsal")], "seed 1: No.")
COMPARISON = Comparison([PAIR, OTHER, FAILED])


def scored(method, accuracy, seed):
    return replace(
        made_results("class_incremental", method, seed=seed), accuracy_matrix=[[accuracy, 0.0], [accuracy] * 2]
    )


UNTESTED = Results(setting="s", method="m", dataset="d", seed=0, num_phases=1, accuracy_matrix=[[None]], versions={})


@pytest.mark.parametrize("shown", [RUN, PAIR, COMPARISON], ids=["run", "pair", "comparison"])
class TestAll:
    def test_html_has_a_table_and_pictures(self, shown):
        html = shown._repr_html_()
        assert "<table" in html and "{{" not in html
        assert html.count("data:image/svg+xml;base64,") == (3 if shown is RUN else 1)

    def test_a_figure(self, shown):
        figure = shown.plot()
        assert isinstance(figure, Figure) and len(figure.axes) >= 2
        assert figure._repr_svg_().startswith("<?xml")

    def test_pandas_may_be_missing(self, shown, monkeypatch):
        monkeypatch.setitem(sys.modules, "pandas", None)
        with pytest.raises(RedwoodError, match=r"to_frame needs the package pandas, .*; pip install 'redwood\[data\]'"):
            shown.to_frame()


def test_html_shows_scores_and_failures_and_escapes_names():
    html = COMPARISON._repr_html_()
    assert "failed: It broke." in html and "&lt;Own&gt;" in html and "<Own>" not in html
    assert f"{100 * PAIR.objective:.1f} ±" in re.sub(r"<[^>]*>", "", html)
    run = RUN._repr_html_()
    assert f"{100 * RUN.objective:.1f}" in run and "training compute" in run


@pytest.mark.parametrize("seeds", [3, 6])
def test_columns_stand_at_one_place_with_a_bound_and_with_few_seeds(seeds):
    pairs = [
        PairResults("class_incremental", name, [scored(name, value + seed / 100, seed) for seed in range(seeds)])
        for name, value in {"ewc": 0.5, "rehearsal": 0.7, "joint": 0.8}.items()
    ]
    pairs[2] = replace(pairs[2], ran_under="traditional")
    html = Comparison(pairs)._repr_html_()
    headings = [re.sub(r"<[^>]*>", "", one).strip() for one in re.findall(r"<th.*?</th>", html, re.DOTALL)]
    assert headings[:4] == ["method", "accuracy (%)", "95 % interval", "beside the best"]


def test_a_wide_picture_fits_a_narrow_page():
    assert '<svg style="max-width: 100%; height: auto" ' in COMPARISON.plot()._repr_svg_()


class TestFrames:
    def test_of_a_run_it_is_the_matrix(self):
        frame = RUN.to_frame()
        assert frame.to_numpy().tolist() == RUN.accuracy_matrix
        assert list(frame.columns) == ["task 0", "task 1"] and list(frame.index) == ["after task 0", "after task 1"]

    def test_of_several_it_has_a_line_for_each_run(self):
        frame = COMPARISON.to_frame()
        assert frame[["method", "seed"]].to_numpy().tolist() == [["ewc", 0], ["ewc", 1], ["rehearsal", 0]]
        assert frame["average_accuracy"].tolist() == [run.objective for run in COMPARISON.results]
        assert frame["average_accuracy"].between(0, 1).all()
        assert "training_flops" in frame and PAIR.to_frame().equals(frame[:2])

    def test_per_task_it_has_a_line_for_each_test(self):
        frame = COMPARISON.to_frame(per="task")
        assert list(frame.columns) == ["setting", "method", "seed", "phase", "task", "accuracy"]
        tested = [score for run in COMPARISON.results for row in run.accuracy_matrix for score in row]
        assert frame["accuracy"].tolist() == [score for score in tested if score is not None]
        matrix = RUN.to_frame(per="task").pivot_table("accuracy", "phase", "task")
        assert matrix.to_numpy().tolist() == RUN.accuracy_matrix
        with pytest.raises(RedwoodError, match=r"to_frame\(per='seed'\) is unknown; give 'run' or 'task'"):
            RUN.to_frame(per="seed")


class TestPicturesByName:
    def test_each_picture_of_a_run_has_a_name(self):
        image = RUN.plot("accuracy_matrix").axes[0].images[0]
        assert image.get_array().shape == (2, 2)
        assert len(RUN.plot("accuracy curve").axes) == len(RUN.plot().axes)
        assert isinstance(COMPARISON.plot("comparison"), Figure)

    def test_an_unknown_name_lists_those_there_are(self):
        with pytest.raises(RedwoodError, match=r"no picture named 'matrix'\..* Known: accuracy_curve, accuracy_matrix"):
            RUN.plot("matrix")
        with pytest.raises(
            RedwoodError, match=r"is a picture of one run; draw it by results\[0\]\.plot\('accuracy_matrix'"
        ):
            COMPARISON.plot("accuracy matrix")
        with pytest.raises(RedwoodError, match=r"no picture named 'matrix'"):
            PAIR.plot("matrix")


class TestContainer:
    def test_pairs_by_method_and_in_order(self):
        assert COMPARISON["ewc"] is PAIR and COMPARISON["<Own>"] is COMPARISON["file.py:<Own>"] is FAILED
        assert COMPARISON["class_incremental", "rehearsal"] is COMPARISON["er"] is OTHER and "EWC" in COMPARISON
        assert "ewc" in COMPARISON and ("class_incremental", "rehearsal") in COMPARISON and OTHER in COMPARISON
        others = ("ecw", ("task_incremental", "ewc"), ("class_incremental", "ewc", "digits"), replace(PAIR), None)
        assert not any(other in COMPARISON for other in others)
        assert list(COMPARISON) == [PAIR, OTHER, FAILED] and len(COMPARISON) == 3
        assert set(significance_of(COMPARISON)) == {"class_incremental"}

    def test_a_wrong_name_is_told(self):
        with pytest.raises(RedwoodError, match=r"no pair named 'ecw'\. Known: <Own>, ewc, rehearsal"):
            COMPARISON["ecw"]
        several = Comparison([PAIR, replace(PAIR, setting="task_incremental")])
        with pytest.raises(RedwoodError, match=r'several settings; name one, as in \["class_incremental", "ewc"\]'):
            several["ewc"]
        assert several["task_incremental", "ewc"].setting == "task_incremental"


def test_completion_offers_answers_and_no_hooks():
    assert {"metrics", "accuracy_matrix", "plot", "to_frame"} <= set(dir(RUN))
    hooks = {"further_rows", "own_entries", "optional_keys", "why_undefined", "prefers_low"}
    assert not hooks & set(dir(RUN)) and all(hasattr(RUN, name) for name in hooks)


class TestTexts:
    def test_they_are_short(self):
        score = f"average accuracy {100 * RUN.objective:.1f} %"
        assert repr(RUN) == f"<Results of class_incremental / ewc on digits, seed 0: {score}>"
        mean = f"average accuracy {100 * PAIR.objective:.1f} %"
        assert repr(PAIR) == f"<class_incremental / ewc: 2 runs, {mean}>"
        assert repr(FAILED) == "<class_incremental / file.py:<Own>: 0 runs; failed: It broke.>"
        assert repr(COMPARISON) == "<Comparison of 1 setting, 3 methods, 3 runs; 2 pairs failed>"
        assert repr(Comparison([PAIR, FAILED])).endswith("; 1 pair failed>")

    def test_printed(self):
        lines = str(COMPARISON).splitlines()
        assert lines[0].strip() == "class_incremental" and any(
            line.startswith("ewc ") and "±" in line for line in lines
        )
        assert "± standard deviation over 2 seeds" in lines and "\x1b" not in str(COMPARISON)
        assert str(RUN) == repr(RUN)

    def test_of_a_subclass_too(self):
        @dataclass(kw_only=True)
        class Own(Results):
            own: int = 0

        assert repr(
            Own(**{f: getattr(UNTESTED, f) for f in ("setting", "method", "dataset", "seed", "num_phases")})
        ) == ("<Own of s / m on d, seed 0: not tested>")

    def test_what_was_not_tested_is_said(self):
        assert repr(UNTESTED) == "<Results of s / m on d, seed 0: not tested>"
        assert "<table" in UNTESTED._repr_html_()
        for shown in (UNTESTED, PairResults("s", "m", [UNTESTED]), Comparison([FAILED])):
            with pytest.raises(RedwoodError, match="There is nothing to draw"):
                shown.plot()
