"""`--validation`: after each phase the setting scores all methods on held-out samples, and says so in all files."""

import csv
import io
import json

import pytest
from rich.console import Console

from redwood.core.errors import DataError
from redwood.engine.pair_results import PairResults
from redwood.experiments.report.comparison_tables import write_comparison
from redwood.experiments.report.tables import print_results
from redwood.methods.baselines import Finetune
from redwood.settings.rl.tree import IncrementalRLSetting
from redwood.settings.scores.results import Results, mean_and_std
from tests.recorder import Recorder
from tests.regression import line
from tests.settings.rl.clock import clock, record
from tests.settings.test_regression import Shifted
from tests.small_runs import FixedRule, run_here, small_setting


class Counting(FixedRule):
    """Counts what it gets right of the samples held out from each phase, and is right about every phase's parity."""

    def configure(self, setting):
        super().configure(setting)
        self.own = []

    def predict(self, x, task_id):
        return (super().predict(x, task_id) + len(self.own) % 2) % int(self._space.n)

    def fit(self, phase):
        super().fit(phase)
        self.own.append(None)
        batches = list(phase.validation)
        right = sum(int((self.predict(batch.x, None) == batch.y).sum()) for batch in batches)
        self.own[-1] = right / sum(len(batch.y) for batch in batches)


def run(key, method=Counting, folder=None, **options):
    made = method()
    where = {} if folder is None else {"run_dir": str(folder)}
    return run_here(small_setting(key, **{"validation": 0.25} | options), made, **where), made


@pytest.mark.parametrize("key", ["class_incremental", "cumulative", "task_incremental", "continual", "traditional"])
def test_accuracy_of_each_phase(key):
    results, method = run(key)
    assert results.validation == pytest.approx(method.own)
    assert len(results.validation) == results.num_phases
    assert results.metrics["validation_accuracy"] == results.validation[-1]


def test_the_samples_of_earlier_phases_are_scored_again():
    results, _ = run("class_incremental", Finetune, passes=20)
    assert [len(row) for row in results.validation_matrix] == [1, 2, 3]
    last = results.validation_matrix[-1]
    assert last[-1] > 0.8 and max(last[:-1]) < 0.2  # forgotten
    assert results.metrics["average_validation_accuracy"] == pytest.approx(sum(last) / 3)


def test_where_the_past_stays_the_last_phase_holds_samples_of_all_tasks():
    results, _ = run("cumulative", FixedRule)
    assert [row[:-1] for row in results.validation_matrix] == [[], [None], [None, None]]
    assert results.metrics["average_validation_accuracy"] == results.validation[-1]


def test_every_file_says_the_same(tmp_path):
    results, _ = run("class_incremental", folder=tmp_path / "run")
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        logged = [float(row["validation_accuracy"]) for row in csv.DictReader(file) if row["phase"]]
    content = json.loads((tmp_path / "run" / "results.json").read_text())
    assert logged == content["validation_accuracy"] == results.validation
    assert content["metrics"]["validation_accuracy"] == logged[-1]
    loaded = Results.load(tmp_path / "run" / "results.json")
    assert (loaded.validation_matrix, loaded.metrics) == (results.validation_matrix, results.metrics)
    write_comparison([PairResults("a", "b", [results]), PairResults("a", "c", [loaded])], tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        assert [float(row["validation_accuracy"]) for row in csv.DictReader(file)] == [logged[-1]] * 2


@pytest.mark.parametrize(("key", "whose"), [("class_incremental", "on the last phase"), ("continual", "")])
def test_the_table_says_whose_it_is(key, whose):
    results, console = run(key, FixedRule)[0], Console(file=io.StringIO(), width=100)
    print_results(results, console)
    (line,) = [line for line in console.file.getvalue().splitlines() if line.startswith("validation")]
    assert "average validation accuracy of all phases" in console.file.getvalue()
    assert line.split() == ["validation", "accuracy", *whose.split(), f"{100 * results.validation[-1]:.1f}"]


@pytest.mark.parametrize("entry", [[0.5, 2.0], [0.5, "x"], 0.5, [float("inf")]])
def test_a_file_with_other_entries_is_refused(entry):
    content = run("class_incremental", FixedRule)[0].to_dict() | {"validation_accuracy": entry}
    with pytest.raises(DataError, match="validation_accuracy"):
        Results.from_dict(content)


def test_errors_of_numbers(tmp_path):
    results, _ = run("domain_incremental", Shifted, tmp_path / "run", dataset=line())
    assert results.validation == pytest.approx([0.5, 1.0, 1.5])
    assert results.metrics["validation_rmse"] == pytest.approx(1.5)
    assert Results.load(tmp_path / "run" / "results.json").validation == results.validation


@pytest.mark.parametrize(("key", "told"), [("class_incremental", False), ("task_incremental", True)])
def test_a_method_is_told_what_it_is_at_test(key, told):
    """After each of three phases, in one pass behind that of the test samples, mixed; ids where promised."""
    _, method = run(key, Recorder)
    assert len(method.log.tested) == 1 + 2 * 3
    for phase, (x, ids) in enumerate(method.log.tested[2::2]):
        assert 10 * (phase + 1) <= len(x) <= 15 * (phase + 1)
        assert set(ids.tolist()) == {*range(phase + 1)} if told else ids is None
        assert not told or phase == 0 or ids.tolist() != sorted(ids.tolist())


def test_without_held_out_samples_there_is_no_such_metric():
    results, _ = run("class_incremental", FixedRule, validation=0.0)
    assert results.validation == []
    assert "validation_accuracy" not in results.metrics
    assert "validation_accuracy" not in results.to_dict()
    held_out, _ = run("class_incremental", FixedRule)
    assert mean_and_std([results, held_out])["validation_accuracy"] is None
    assert record(clock(IncrementalRLSetting))[0].validation == []
