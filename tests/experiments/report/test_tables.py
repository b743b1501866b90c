import io

import numpy as np
import pytest
from rich.console import Console

from redwood.branches.acquisition.results import AcquisitionResults
from redwood.branches.osaka.results import OsakaResults
from redwood.engine.pair_results import PairResults
from redwood.experiments.report.comparison_tables import print_comparison
from redwood.experiments.report.tables import print_results, shortened
from redwood.settings.rl.results import ReturnResults
from redwood.settings.scores.cost import USES, Cost
from redwood.settings.scores.results import Results
from redwood.settings.scores.slices import SliceScores


def run(rows, num_phases=None, **fields):
    fields = {"setting": "class_incremental", "method": "rehearsal", "dataset": "digits", "seed": 3} | fields
    num_phases = len(rows) if num_phases is None else num_phases
    return Results(num_phases=num_phases, accuracy_matrix=[list(row) for row in rows], **fields)


def long_run(num_tasks, **fields):
    """A run whose accuracy on task j after task i is (i + j) / 1000."""
    return run(((np.arange(num_tasks)[:, None] + np.arange(num_tasks)) / 1000).tolist(), **fields)


def printed(show, what, width=80, terminal=False):
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    show(what, console)
    return console.file.getvalue()


def words(text, start):
    """The words after `start` in the line that begins with it."""
    (line,) = [line.strip() for line in text.splitlines() if line.strip().startswith(start)]
    return line.removeprefix(start).split()


TWO_TASKS = [[0.972, 0.1], [0.5, 1.0]]


class TestPrintResults:
    def test_the_heading_has_the_names_of_classes_without_their_files(self):
        results = Results(
            setting="continual",
            method="/a/long/path/mine.py:Mine+ewc",
            dataset="d",
            seed=0,
            num_phases=1,
            accuracy_matrix=[[0.5]],
        )
        assert printed(print_results, results).splitlines()[0] == "continual · Mine+ewc · d · seed 0"

    def test_osaka_shows_domains_and_steps_since_the_switch(self):
        fields = {"accuracy_matrix": [[0.5, None]], "config": {"task_list": [{"name": "digits"}, {"name": "others"}]}}
        since = {"accuracy": [[0.1, 0.2, 0.9], [0.4, None, None]], "steps": [[9, 8, 2], [3, 0, 0]]}
        results = OsakaResults(
            setting="osaka", method="maml", dataset="digits", seed=0, num_phases=1, since_switch=since, **fields
        )
        text = printed(print_results, results)
        assert ["online", "50.0", "\N{EN DASH}"] in [line.split() for line in text.splitlines()]
        assert words(text, "digits") == ["10.0", "20.0", "90.0"]
        assert words(text, "others") == ["40.0", "\N{EN DASH}", "\N{EN DASH}"]

    @pytest.mark.parametrize(
        ("kind", "by", "of", "shown"),
        [
            (Results, "class", "loss", {}),
            (Results, "region", "loss", {"average EER, loss by region (nats)": "0.188"}),
            (Results, "region", "error rate", {"average EER, error rate by region (%)": "18.8"}),
            (AcquisitionResults, "class", "loss", {"average EER, loss by class (nats)": "0.188"}),
        ],
    )
    def test_equalised_error_rates_of_slices_that_were_asked_for(self, kind, by, of, shown):
        slices = SliceScores(by, ["a", "b"], [1, 1], [0.5, 0.9], [0.5, 0.9], 0.1875, 0.25, of)
        results = kind(setting="s", method="m", dataset="d", seed=0, num_phases=1, accuracy_matrix=[[0.7]])
        results.slices = slices
        lines = printed(print_results, results).splitlines()
        found = [line.strip().rsplit(maxsplit=1) for line in lines if "average EER" in line]
        assert dict(found) == shown

    def test_matrix_in_percent(self):
        text = printed(print_results, run(TWO_TASKS))
        assert text.splitlines()[0] == "class_incremental · rehearsal · digits · seed 3"
        assert words(text, "after task 0") == ["97.2", "10.0"]
        assert words(text, "after task 1") == ["50.0", "100.0"]

    def test_short_names_of_tasks_take_the_place_of_numbers(self):
        text = printed(print_results, run(TWO_TASKS, task_names=["2024-01", "2024-02"]))
        assert words(text, "after 2024-02") == ["50.0", "100.0"]
        assert ["2024-01", "2024-02"] in [line.split() for line in text.splitlines()]

    def test_metrics(self):
        text = printed(
            print_results,
            run(TWO_TASKS, untrained_accuracy=[0.1, 0.06], online_curve=[(5, 0.25)], top5_accuracy=[1, 0.9]),
        )
        assert words(text, "average accuracy") == ["75.0"]
        assert words(text, "average incremental accuracy") == ["86.1"]
        assert words(text, "forgetting") == ["47.2"]
        assert words(text, "backward transfer") == ["-47.2"]
        assert words(text, "forward transfer") == ["+4.0"]
        assert words(text, "online accuracy") == ["25.0"]
        assert words(text, "average top-5 accuracy") == ["95.0"]
        assert words(text, "top-5 at the end") == ["100.0", "90.0"]

    def test_the_first_line_is_never_broken(self):
        text = printed(print_results, run(TWO_TASKS, dataset="photos/" * 30))
        assert text.splitlines()[0] == f"class_incremental · rehearsal · {'photos/' * 30} · seed 3"

    def test_negative_forgetting_is_explained(self):
        text = printed(print_results, run([[0.5, 0.1], [0.7, 0.9]]))
        assert words(text, "forgetting (negative: earlier tasks have improved)") == ["-20.0"]

    def test_undefined_is_an_en_dash(self):
        text = printed(print_results, run([[0.5, 0.6]], num_phases=1))
        for name in ("forgetting", "backward transfer", "forward transfer", "online accuracy"):
            assert words(text, name) == ["\N{EN DASH}"]
        assert words(text, "after training") == ["50.0", "60.0"]
        assert "top-5" not in text

    @pytest.mark.parametrize(
        ("fields", "reasons"),
        [
            ({}, {"normalised return": "needs --reference", "forward transfer": "needs --reference"}),
            ({"num_phases": 1}, {"forward transfer": "needs a phase per task"}),
            (
                {"reference": {"returns": [9.0, 9.0], "areas": [5.0, 5.0]}},
                {"normalised return": "needs --eval_tasks all"},
            ),
            (
                {"reference": {"returns": [1.0, 1.0], "areas": [1.0, 1.0]}, "untrained_accuracy": [1.0, 2.0]},
                {"normalised return": "the reference is no better than random actions"},
            ),
        ],
    )
    def test_what_agents_lack_has_a_reason_beside_it(self, fields, reasons):
        matrix = [[5.0, 1.0], [4.0, 6.0]][: fields.get("num_phases", 2)]
        given = {"accuracy_matrix": matrix, "num_phases": 2, "config": {"steps_per_task": 10}} | fields
        results = ReturnResults(setting="incremental_rl", method="dqn", dataset="CartPole-v1", seed=0, **given)
        text = printed(print_results, results)
        for name, reason in reasons.items():
            assert words(text, f"{name} ({reason})") == ["\N{EN DASH}"]

    def test_cost_has_units(self):
        text = printed(
            print_results, run([[0.5]], cost=Cost(12.34, 10.0, 1.26, 56_789, 1234.5, 2.5e12, 269_722, 345e6, 2_048))
        )
        assert words(text, "wall time") == ["12.3", "s"]
        assert words(text, "training time") == ["10.0", "s"]
        assert words(text, "evaluation time") == ["1.3", "s"]
        assert words(text, "training samples") == ["56,789"]
        assert words(text, "training speed") == ["1,234", "samples/s"]
        assert words(text, "training compute") == ["2.50", "TFLOPs"]
        assert words(text, "parameters") == ["270", "k"]
        assert words(text, "peak memory") == ["345", "MB"]
        assert words(text, "stored beside network") == ["2.05", "kB"]
        assert "waited" not in text

    @pytest.mark.parametrize(("wait_ms", "step_ms", "share"), [(0.25, 20.0, "1.2%"), (0.0, 0.0, "0.0%")])
    def test_cost_of_rehearsal_that_hides(self, wait_ms, step_ms, share):
        cost = Cost(rehearsal={"wait_ms": wait_ms, "step_ms": step_ms})
        text = printed(print_results, run([[0.5]], cost=cost))
        assert words(text, "waited for replay") == [share, "of", "a", "step"]

    def test_files_from_before_these_times_were_kept_show_none(self):
        text = printed(print_results, run([[0.5]], cost=Cost(12.0)))
        assert "training time" not in text and "evaluation time" not in text

    @pytest.mark.parametrize(
        ("seconds", "expected"), [(0.04, "0.0 s"), (99.94, "99.9 s"), (125, "2 min 05 s"), (3_599.6, "1 h 00 min")]
    )
    def test_wall_time(self, seconds, expected):
        assert words(printed(print_results, run([[0.5]], cost=Cost(seconds))), "wall time") == expected.split()

    @pytest.mark.parametrize(
        ("flops", "expected"), [(0, "0 FLOPs"), (999.4, "999 FLOPs"), (999.6, "1.00 kFLOPs"), (3e19, "30000 PFLOPs")]
    )
    def test_compute(self, flops, expected):
        text = printed(print_results, run([[0.5]], cost=Cost(training_flops=flops)))
        assert words(text, "training compute") == expected.split()

    def test_compute_by_use(self):
        flops = {"training": [1e9, 2e9], "validation": [5e8, 5e8], "selection": [0.0, 0.0], "search": [0.0, 4e9]}
        text = printed(print_results, run([[0.5]], cost=Cost(training_flops=7e9, flops=flops)))
        assert words(text, "training compute") == ["3.00", "GFLOPs"]
        assert words(text, "validation compute") == ["1.00", "GFLOPs"]
        assert words(text, "search compute") == ["4.00", "GFLOPs"]
        assert words(text, "total compute") == ["8.00", "GFLOPs"]
        assert "selection" not in text

    def test_compute_of_training_alone_is_one_line(self):
        flops = {use: [2e9 if use == "training" else 0.0] for use in USES}
        text = printed(print_results, run([[0.5]], cost=Cost(training_flops=2e9, flops=flops)))
        assert words(text, "training compute") == ["2.00", "GFLOPs"]
        assert text.count("compute") == 1

    def test_unfinished_run(self):
        text = printed(print_results, run(TWO_TASKS[:1], num_phases=2))
        assert words(text, "after task 0") == ["97.2", "10.0"] and "after task 1" not in text
        assert words(text, "average accuracy") == ["97.2"]
        assert words(printed(print_results, run([], num_phases=2)), "average accuracy") == ["\N{EN DASH}"]

    @pytest.mark.parametrize("terminal", [False, True])
    @pytest.mark.parametrize(
        ("num_tasks", "width"), [(1, 80), (10, 80), (20, 80), (20, 160), (100, 80), (1000, 80), (20, 40)]
    )
    def test_stays_within_the_line(self, num_tasks, width, terminal):
        results = long_run(num_tasks) if num_tasks <= 100 else run([[0.5] * num_tasks], num_phases=1)
        text = printed(print_results, results, width, terminal)
        assert max(len(line) for line in text.splitlines()) <= max(
            width, len("class_incremental · rehearsal · digits · seed 3")
        )
        assert len(text.splitlines()) < 60

    def test_ten_tasks_fit_a_log_file(self):
        text = printed(print_results, run([[1.0] * 10] * 10, top5_accuracy=[1.0] * 10))
        assert words(text, "after task 9") == ["100.0"] * 10
        assert "results.json" not in text

    def test_twenty_tasks_show_first_and_last_in_a_log_file(self):
        text = printed(print_results, long_run(20))
        assert words(text, "after task 19") == ["1.9", "2.0", "2.1", "2.2", "2.3", "…", "3.5", "3.6", "3.7", "3.8"]
        assert "The rest of the matrix is in results.json." in text

    def test_twenty_tasks_fit_a_wide_terminal(self):
        text = printed(print_results, long_run(20), width=160)
        assert len(words(text, "after task 19")) == 20
        assert "results.json" not in text


class TestPrintComparison:
    def rows(self):
        seeds = [
            run([[0.9, 0.1], [value, 1.0]], online_curve=[(5, 0.25)], cost=Cost(value * 100)) for value in (0.2, 0.6)
        ]
        return [
            PairResults("class_incremental", "rehearsal", seeds),
            PairResults("class_incremental", "ewc", failure="lr [red] has to be positive,\ngot -1."),
            PairResults("traditional", "rehearsal", [run([[0.5, 0.7]], num_phases=1, cost=Cost(4_000))]),
        ]

    def test_a_line_per_pair(self):
        text = printed(print_comparison, self.rows(), width=160)
        dash = "\N{EN DASH}"
        first, last = [line.split() for line in text.splitlines() if line.startswith("rehearsal")]
        assert first[1:4] == ["70.0", "±", "14.1"]
        assert first[4:] == ["80.0", "50.0", "-50.0", dash, "25.0", "40.0", "s", "2", "ok"]
        assert last[1:] == ["60.0", "60.0", dash, dash, dash, dash, "1:06:40", "1", "ok"]

    def test_long_names_are_broken_between_words(self):
        rows = [PairResults("continual", "ewc+rehearsal+augmentation_of_everything", [run([[0.5, 0.7]])])]
        first = [line.split(" ")[0] for line in printed(print_comparison, rows, width=70).splitlines()]
        assert first[3:6] == ["ewc+rehearsal+", "augmentation_", "of_everything"]

    def test_is_grouped_by_setting(self):
        text = printed(print_comparison, self.rows()[::-1])
        headings = [line.strip() for line in text.splitlines() if line.strip() in ("class_incremental", "traditional")]
        assert headings == ["traditional", "class_incremental"]

    def test_failure_is_told_in_one_line_as_it_is(self):
        text = printed(print_comparison, self.rows(), width=160)
        (line,) = [line for line in text.splitlines() if line.startswith("ewc")]
        assert line.endswith("0 failed: lr [red] has to be positive, got -1.")
        assert text.count("lr [red]") == 1

    def test_long_failure_moves_below_the_table(self):
        text = printed(print_comparison, self.rows())
        (line,) = [line for line in text.splitlines() if line.startswith("ewc")]
        assert "failed" in line
        assert text.splitlines()[-1] == "class_incremental / ewc failed: lr [red] has to be positive, got -1."

    def test_fits_a_log_file(self):
        methods = ["rehearsal", "experience_replay", "my_file.py:ADistilledClassifier"]
        rows = [
            PairResults(
                "distributed_online_class_incremental", name, [run(np.eye(3).tolist()), run(np.ones((3, 3)).tolist())]
            )
            for name in methods
        ]
        lines = printed(print_comparison, rows).splitlines()
        assert max(len(line) for line in lines) <= 80
        assert "distributed_online_class_incremental" in lines[0]
        assert not any("…" in line for line in lines)

    def test_some_seeds_failed(self):
        rows = [PairResults("traditional", "ewc", [run([[0.5]])], failure="out of memory")]
        (line,) = [line for line in printed(print_comparison, rows, width=120).splitlines() if line.startswith("ewc")]
        assert line.split()[1] == "50.0" and line.rstrip().endswith("1 failed: out of memory")

    def test_compute_and_the_pareto_front(self):
        costs = {"a": (0.9, 1.04e9), "b": (0.5, 23.4e9), "c": (0.4, 9.96e8)}
        rows = [
            PairResults("traditional", name, [run([[value]], cost=Cost(training_flops=flops))])
            for name, (value, flops) in costs.items()
        ]
        lines = printed(print_comparison, [*rows, PairResults("traditional", "d", failure="no")]).splitlines()
        column = lines[1].split().index("FLOPs") + 1
        found = {line.split()[0]: line.split()[column] for line in lines if line[:2] in ("a ", "b ", "c ", "d ")}
        assert found == {"a": "1.0G\N{DAGGER}", "b": "23G", "c": "996M\N{DAGGER}", "d": "\N{EN DASH}"}
        assert "\N{DAGGER} on the Pareto front of accuracy and FLOPs" in lines, "and no number without a unit"

    def test_one_method_has_no_front(self):
        rows = [PairResults(name, "ewc", [run([[0.5]], cost=Cost(training_flops=1e9))]) for name in ("a", "b")]
        text = printed(print_comparison, rows)
        assert "FLOPs" in text and "\N{DAGGER}" not in text

    def test_transfer_to_the_last_task(self):
        rows = [
            PairResults("traditional", "independent", [run([[0.9, 0.1], [0.9, 0.5]])]),
            PairResults("traditional", "ewc", [run([[0.9, 0.1], [0.2, 0.75]])]),
            PairResults("task_incremental", "ewc", [run([[0.9, 0.1], [0.2, 0.75]])]),
        ]
        lines = printed(print_comparison, rows).splitlines()
        column = lines[1].split().index("last") + 1
        found = [line.split()[column] for line in lines if line.startswith(("independent", "ewc"))]
        assert found == ["+0.0", "+25.0", "\N{EN DASH}"], "the other setting has no independent models"
        assert " last " not in printed(print_comparison, rows[1:])


def test_shortened():
    assert shortened(4, 4) == [0, 1, 2, 3]
    assert shortened(9, 5) == [0, 1, None, 7, 8]
    assert shortened(9, 4) == [0, 1, None, 8]
    assert shortened(9, 0) == [0, None, 8]


@pytest.mark.parametrize(
    ("config", "last", "why"),
    [
        ({"extends": "a"}, [0.5, None], "these tasks came when the run was extended"),
        ({"extends": "a", "eval_tasks": "none"}, [None, None], "--eval_tasks none tests no task"),
        ({"eval_tasks": "seen"}, [0.5, None], "--eval_tasks seen tests a task from the phase on that trains it"),
    ],
)
def test_why_tasks_are_untested(config, last, why):
    text = printed(print_results, run([[0.6, None], last], config=config))
    assert f"was not measured: {why}." in " ".join(text.split())
