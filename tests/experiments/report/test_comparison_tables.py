import csv
import io
from dataclasses import replace

import pytest
from rich.console import Console

from redwood.engine.pair_results import PairResults
from redwood.engine.terminal import NOT_DEFINED
from redwood.experiments.report.comparison_tables import FAILED, print_comparison, write_comparison
from redwood.experiments.report.tables import summary_of
from redwood.settings.scores.cost import Cost
from redwood.settings.scores.results import RegressionResults, Results

SETTINGS = ["continual", "class_incremental", *(f"setting_{n}" for n in range(3, 23))]
METHODS = ["random", "ewc+rehearsal", *(f"method_{n}" for n in range(3, 31))]


def results(value, kind=Results):
    options = {"setting": "s", "method": "m", "dataset": "d", "seed": 0, "num_phases": 1, "versions": {}}
    return kind(accuracy_matrix=[[value]], cost=Cost(2.0), **options)


def printed(rows, width=80):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_comparison(rows, console)
    return console.file.getvalue()


@pytest.fixture
def many():
    rows = [
        PairResults(setting, method, [results((s + m) / 100)])
        for s, setting in enumerate(SETTINGS)
        for m, method in enumerate(METHODS)
        if (s, m) != (0, 2)
    ]
    rows[1] = PairResults("continual", "ewc+rehearsal", [], failure="It does [not]\nwant to.")
    rows[2] = PairResults("continual", "method_4", rows[2].results, failure="seed 1: no")
    return rows


class TestMany:
    @pytest.mark.parametrize("width", [80, 100, 200])
    def test_fits_the_line(self, many, width):
        lines = printed(many, width).splitlines()
        assert max(map(len, lines)) <= width
        assert len(lines) < 31 * (3 if width < 200 else 1) + 40

    def test_a_line_per_method_and_a_column_per_setting(self, many):
        lines = printed(many, 200).splitlines()
        assert lines[0] == "average accuracy (%) of each method (line) under each setting (column)"
        assert "1 continual" in lines[1] and "2 class_incremental" in lines[1]
        values = {line.split()[0]: line.split()[1:] for line in lines if line.split()}
        assert values["random"] == [f"{s}.0" for s in range(22)]
        assert values["method_5"] == [f"{s + 4}.0" for s in range(22)]

    def test_marks(self, many):
        text = printed(many, 200)
        values = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.split()}
        assert values["ewc+rehearsal"][:2] == [FAILED, "2.0"]
        assert values["method_3"][:2] == [NOT_DEFINED, "3.0"]
        assert values["method_4"][:2] == ["3.0*", "4.0"]
        assert f"{NOT_DEFINED} does not apply; {FAILED} failed; * mean of the seeds that did not fail" in text
        assert "continual / ewc+rehearsal failed: It does [not] want to.\n" in text

    def test_the_best_of_each_setting_stands_out(self, many):
        console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="standard")
        print_comparison(many, console)
        (last,) = [line for line in console.file.getvalue().splitlines() if line.startswith("method_30")]
        assert last.count("\x1b[1;32m") == 22

    def test_errors(self):
        rows = [
            PairResults(f"setting_{s}", f"method_{m}", [results(10.0 + s + m, RegressionResults)])
            for s in range(8)
            for m in range(8)
        ]
        console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system="standard")
        print_comparison(rows, console)
        lines = console.file.getvalue().splitlines()
        assert lines[0].startswith("average RMSE of each method")
        (best,) = [line for line in lines if line.startswith("method_0")]
        assert "10.000" in best and best.count("\x1b[1;32m") == 8


class TestSignificance:
    @staticmethod
    def rows(n, kind=Results):
        sign = 1 if kind is RegressionResults else -1
        values = {"worse": 2.0 + sign, "good": 2.0, "alike": 2.0 + 0.005 * sign}
        noise = {"worse": 0.0, "good": 0.0, "alike": 0.01}
        return [
            PairResults(
                "continual",
                name,
                [replace(results(0.3 * (value + noise[name] * (-1) ** seed), kind), seed=seed) for seed in range(n)],
            )
            for name, value in values.items()
        ]

    @pytest.mark.parametrize("kind", [Results, RegressionResults])
    def test_marks(self, kind):
        lines = {line.split()[0]: line for line in printed(self.rows(9, kind), 160).splitlines() if line.split()}
        assert "▲" not in lines["worse"] and "△" not in lines["worse"]
        assert "▲" in lines["good"] and "△" in lines["alike"]
        assert "use at least" not in printed(self.rows(9, kind), 160)

    def test_too_few_seeds_are_said(self):
        text = printed(self.rows(3), 160)
        assert "△" not in text
        assert "3 seeds can show nothing below p = 0.25, and 3 pairs of methods need p = 0.017 (Holm); use" in text

    def test_in_the_grid(self, many):
        assert "▲ best; 1 seed cannot tell methods apart" in printed(many, 200)

    def test_in_the_file(self, tmp_path):
        write_comparison(self.rows(9), tmp_path / "comparison.csv")
        with (tmp_path / "comparison.csv").open(newline="") as file:
            worse, good, alike = csv.DictReader(file)
        assert [row["significance"] for row in (worse, good, alike)] == [
            "worse than best",
            "best",
            "not distinguishable from best",
        ]
        assert float(worse["p_to_best"]) == pytest.approx(3 * 2 / 2**9)
        assert good["p_to_best"] == "" and float(alike["p_to_best"]) > 0.05
        assert float(alike["objective_low"]) < 0.6 < float(alike["objective_high"])
        assert (worse["seeds"], worse["class_orders"]) == ("9", "")


def test_a_bound_is_told_below_its_own_setting():
    rows = [PairResults(setting, "finetune", [results(0.5)]) for setting in ("continual", "class_incremental")]
    rows.append(PairResults("class_incremental", "joint", [results(0.9)], ran_under="cumulative"))
    before, _, after = printed(rows, 120).partition("class_incremental")
    assert "ran under cumulative" in after and "ran under" not in before


def test_few_have_all_their_metrics():
    text = printed(
        [PairResults("continual", "random", [results(0.5)]), PairResults("traditional", "random", [results(0.25)])]
    )
    assert "forget" in text and "50.0" in text


def test_outcome():
    assert summary_of(results(0.4567)) == "average accuracy 45.7 %, 2.0 s"
    assert summary_of(results(45.67, RegressionResults)) == "average RMSE 45.670, 2.0 s"
