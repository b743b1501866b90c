"""`--eval_tasks seen`: what was not tested is null, and so is what needs it; names mean the same in all files."""

import csv
import io
import json

import pytest
import torch
from rich.console import Console
from torch.nn.functional import one_hot

from redwood.cli import main
from redwood.core.errors import InvalidOptionError
from redwood.engine.figures.plots import plot_accuracy_curve, plot_accuracy_matrix
from redwood.engine.figures.ranking import plot_comparison
from redwood.engine.pair_results import PairResults
from redwood.engine.terminal import NOT_DEFINED
from redwood.experiments.report.comparison_tables import print_comparison, write_comparison
from redwood.experiments.report.tables import print_results
from redwood.settings import Blurry
from redwood.settings.data.dataset import Dataset
from redwood.settings.rl.tree import IncrementalRLSetting, TaskAgnosticRLSetting, TaskIncrementalRLSetting
from redwood.settings.scores.results import Results
from tests.cli.command import assert_one_sentence
from tests.recorder import Recorder
from tests.regression import line
from tests.settings.rl import clock as clock_module
from tests.settings.rl.clock import LIMIT, clock, record
from tests.settings.test_regression import Shifted
from tests.small_runs import FixedRule, run_here, small_setting


def both(key, method=FixedRule, **options):
    """The results of the same run with all tasks tested, and with those seen."""
    return [run_here(small_setting(key, eval_tasks=tasks, **options), method()) for tasks in ("all", "seen")]


class Scoring(FixedRule):
    """Knows the class of each sample, and may fail at the start of a task."""

    def __init__(self, breaks_at=-1):
        self.fails_at = breaks_at

    def on_task_start(self, task_id):
        if task_id == self.fails_at:
            raise ArithmeticError

    def fit(self, phase):
        for _ in range(phase.train.epochs):
            for _ in phase.train:
                pass

    def predict(self, x, task_id):
        return one_hot(x[:, 0].long(), 12).float()


def rows_of(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["phase"]]


class TestSupervised:
    @pytest.mark.parametrize("key", ["class_incremental", "domain_incremental", "task_incremental", "cumulative"])
    def test_tasks_to_come_are_null_and_the_others_as_before(self, key):
        whole, seen = both(key)
        expected = [
            [value if task <= phase else None for task, value in enumerate(row)]
            for phase, row in enumerate(whole.accuracy_matrix)
        ]
        assert seen.accuracy_matrix == expected
        assert seen.untrained_accuracy is None

    @pytest.mark.parametrize("key", ["continual", "task_agnostic", "traditional", "multi_task"])
    def test_one_phase_has_seen_all(self, key):
        whole, seen = both(key)
        assert seen.accuracy_matrix == whole.accuracy_matrix
        assert seen.untrained_accuracy is None

    def test_strays_of_a_blurry_phase_are_not_seen(self):
        _, seen = both("class_incremental", transition=Blurry(blur=0.5))
        assert [row.count(None) for row in seen.accuracy_matrix] == [2, 1, 0]

    def test_only_their_samples_are_handed_out(self):
        setting = small_setting("class_incremental", eval_tasks="seen")
        sizes = [len(setting.open_stream().samples_of(task, test=True)[0]) for task in range(3)]
        method = Recorder()
        run_here(setting, method)
        assert [len(x) for x, _ in method.log.tested] == [sum(sizes[:n]) for n in (1, 2, 3)]

    def test_metrics(self):
        whole, seen = both("class_incremental")
        assert whole.metrics["forward_transfer"] is not None
        assert seen.metrics["forward_transfer"] is None
        for name in ("average_accuracy", "average_incremental_accuracy", "backward_transfer"):
            assert seen.metrics[name] == whole.metrics[name]

    def test_forgetting_counts_from_the_phase_that_trained_a_task(self):
        matrix = [[0.9, 1.0, 0.0], [0.5, 0.7, 0.0], [0.4, 0.3, 1.0]]
        seen = [[0.9, None, None], [0.5, 0.7, None], [0.4, 0.3, 1.0]]
        names = {"setting": "s", "method": "m", "dataset": "d", "seed": 0, "num_phases": 3}
        whole, part = (Results(accuracy_matrix=rows, **names).metrics["forgetting"] for rows in (matrix, seen))
        assert whole == pytest.approx((0.5 + 0.7) / 2)
        assert part == pytest.approx((0.5 + 0.4) / 2)

    def test_regression(self):
        whole, seen = both("domain_incremental", Shifted, dataset=line())
        assert seen.rmse_matrix[0] == [whole.rmse_matrix[0][0], None, None]
        assert seen.metrics["average_rmse"] == whole.metrics["average_rmse"]

    def test_files_hold_null_and_read_back(self, tmp_path):
        _, seen = both("class_incremental")
        seen.save(tmp_path / "results.json")
        assert json.loads((tmp_path / "results.json").read_text())["accuracy_matrix"] == seen.accuracy_matrix
        loaded = Results.load(tmp_path / "results.json")
        assert loaded.accuracy_matrix == seen.accuracy_matrix
        assert loaded.metrics == seen.metrics

    def test_tables_and_pictures(self, tmp_path):
        whole, seen = both("class_incremental")
        console = Console(file=io.StringIO(), width=100)
        print_results(seen, console)
        text = console.file.getvalue()
        (row,) = [line.split() for line in text.splitlines() if line.startswith("after task 0")]
        assert row[4:] == [NOT_DEFINED] * 2
        assert "Forward transfer needs --eval_tasks all." in text
        console = Console(file=io.StringIO(), width=100)
        print_comparison([PairResults("a", "b", [seen]), PairResults("a", "c", [whole])], console)
        assert console.file.getvalue().count("Forward transfer needs --eval_tasks all.") == 1
        console = Console(file=io.StringIO(), width=100)
        print_results(whole, console)
        assert "--eval_tasks" not in console.file.getvalue()
        write_comparison([PairResults("a", "b", [seen])], tmp_path / "table.csv")
        with (tmp_path / "table.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        assert row["forward_transfer"] == ""
        assert float(row["average_accuracy"]) == seen.objective
        for number, draw in enumerate((plot_accuracy_matrix, plot_accuracy_curve)):
            draw(seen, tmp_path / f"{number}.png")
        plot_comparison([("whole", [whole]), ("seen", [seen])], tmp_path / "comparison.png")

    def test_a_run_goes_on_after_an_interruption(self, tmp_path):
        """Top-5 accuracies, of more than ten classes, hold None in between."""
        y = torch.arange(240) % 12
        data = Dataset.from_arrays(y[:, None].float(), y, y[:60, None].float(), y[:60])
        options = {"run_dir": str(tmp_path / "run"), "quiet": True, "accelerator": "cpu"}

        def setting():
            return small_setting("class_incremental", dataset=data, eval_tasks="seen")

        with pytest.raises(ArithmeticError):
            run_here(setting(), Scoring(breaks_at=2), **options)
        results = run_here(setting(), Scoring(), resume=True, **options)
        assert [row.count(None) for row in results.accuracy_matrix] == [2, 1, 0]
        assert results.top5_accuracy == [1.0, 1.0, 1.0]

    def test_what_is_unknown_is_refused(self):
        with pytest.raises(InvalidOptionError, match="--eval_tasks some is unknown; choose one of all, seen"):
            small_setting("class_incremental", eval_tasks="some")


class TestEnvironments:
    def test_tasks_to_come_are_not_played(self, tmp_path):
        results, _ = record(clock(IncrementalRLSetting, eval_tasks="seen", test_episodes=2))
        gains = [row[task] / LIMIT for task, row in enumerate(results.return_matrix)]
        assert results.return_matrix == [
            [LIMIT * gain if task <= phase else None for task, gain in enumerate(gains)] for phase in range(3)
        ]
        assert len(results.random_return) == 3
        whole, _ = record(clock(IncrementalRLSetting, test_episodes=2))
        for name in ("average_return", "forgetting", "backward_transfer"):
            assert results.metrics[name] == whole.metrics[name]
        for draw in (plot_accuracy_matrix, plot_accuracy_curve):
            draw(results, tmp_path / "picture.png")

    def test_fewer_episodes_are_played(self):
        played = [
            [ids[0] for ids in record(clock(TaskIncrementalRLSetting, eval_tasks=tasks))[1].tested]
            for tasks in ("all", "seen")
        ]
        assert [[of_run.count(task) for task in range(3)] for of_run in played] == [[21, 21, 21], [21, 14, 7]]

    def test_a_task_that_comes_back_stays_seen(self):
        tasks = {"attributes": [], "nb_tasks": None, "tasks": ["gain=1", "gain=5", "gain=1", "gain=9"]}
        results, _ = record(clock(IncrementalRLSetting, eval_tasks="seen", **tasks))
        assert [row.count(None) for row in results.return_matrix] == [2, 1, 1, 0]
        assert results.metrics["average_return"] == pytest.approx(LIMIT * 5)

    def test_one_phase_has_seen_all(self):
        results, _ = record(clock(TaskAgnosticRLSetting, eval_tasks="seen"))
        assert results.all_tested


class TestNames:
    @pytest.mark.parametrize(
        ("key", "options", "method", "measure"),
        [
            ("class_incremental", {}, FixedRule, "accuracy"),
            ("continual", {}, FixedRule, "accuracy"),
            ("domain_incremental", {"dataset": line()}, Shifted, "rmse"),
        ],
    )
    def test_the_average_is_over_the_tasks_so_far_in_every_file(self, tmp_path, key, options, method, measure):
        results = run_here(small_setting(key, **options), method(), run_dir=str(tmp_path / "run"))
        rows = rows_of(tmp_path / "run")
        logged = [float(row[f"average_{measure}"]) for row in rows]
        assert logged == pytest.approx(list(results.average_curve))
        assert logged[-1] == pytest.approx(results.metrics[f"average_{measure}"])
        everything = [float(row[f"average_{measure}_all_tasks"]) for row in rows]
        assert everything == pytest.approx([sum(row) / len(row) for row in results.accuracy_matrix])

    def test_of_returns(self, tmp_path):
        results = run_here(clock(IncrementalRLSetting), clock_module.Recorder(), run_dir=str(tmp_path / "run"))
        logged = [float(row["average_return"]) for row in rows_of(tmp_path / "run")]
        assert logged == pytest.approx(list(results.average_curve))

    def test_what_was_not_measured_is_not_logged(self, tmp_path):
        setting = small_setting("class_incremental", eval_tasks="seen")
        run_here(setting, FixedRule(), run_dir=str(tmp_path / "run"))
        first, _, last = rows_of(tmp_path / "run")
        assert (first["accuracy/task_1"], first["average_accuracy_all_tasks"]) == ("", "")
        assert last["average_accuracy_all_tasks"] == last["average_accuracy"]


def test_command_line(tmp_path, capsys):
    arguments = ["--setting", "class_incremental", "--method", "random", "--run_dir", str(tmp_path / "run"), "--quiet"]
    assert main([*arguments, "--eval_tasks", "seen"]) == 0
    assert "Forward transfer needs --eval_tasks all." in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "results.json").read_text())["accuracy_matrix"][0][1:] == [None] * 4
    assert main([*arguments, "--eval_tasks", "met"]) == 2
    assert_one_sentence(capsys.readouterr().err)
