import re
import sys
from dataclasses import dataclass

import pytest
from matplotlib.figure import Figure

from redwood.core.errors import RedwoodError
from redwood.engine.pair_results import PairResults
from redwood.experiments.comparisons.comparison import Comparison
from redwood.settings.scores.results import Results
from tests.experiments.report.made import made_results

RUN = made_results("class_incremental", "ewc")
PAIR = PairResults("class_incremental", "ewc", [RUN, made_results("class_incremental", "ewc", seed=1)])
FAILED = PairResults("class_incremental", "file.py:<Own>", [], "It broke.")
OTHER = PairResults("class_incremental", "rehearsal", [made_results("class_incremental", "rehearsal")], "seed 1: No.")
COMPARISON = Comparison([PAIR, OTHER, FAILED])
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


class TestFrames:
    def test_of_a_run_it_is_the_matrix(self):
        frame = RUN.to_frame()
        assert frame.to_numpy().tolist() == RUN.accuracy_matrix
        assert list(frame.columns) == ["task 0", "task 1"] and list(frame.index) == ["after task 0", "after task 1"]

    def test_of_several_it_has_a_line_for_each_run(self):
        frame = COMPARISON.to_frame()
        assert frame[["method", "seed"]].to_numpy().tolist() == [["ewc", 0], ["ewc", 1], ["rehearsal", 0]]
        assert frame["average_accuracy"].tolist() == [run.objective for run in COMPARISON.results]
        assert frame["average_accuracy"].between(0, 1).all() and "fractions" in str(type(RUN).to_frame.__doc__)
        assert "training_flops" in frame and PAIR.to_frame().equals(frame[:2])


class TestTexts:
    def test_they_are_short(self):
        score = f"average accuracy {100 * RUN.objective:.1f} %"
        assert repr(RUN) == f"<Results of class_incremental / ewc on digits, seed 0: {score}>"
        mean = f"average accuracy {100 * PAIR.objective:.1f} %"
        assert repr(PAIR) == f"<class_incremental / ewc: 2 runs, {mean}>"
        assert repr(FAILED) == "<class_incremental / file.py:<Own>: 0 runs; failed: It broke.>"
        assert repr(COMPARISON) == "<Comparison of 1 setting, 3 methods, 3 runs; 2 pairs failed>"

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
