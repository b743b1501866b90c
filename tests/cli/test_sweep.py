"""`sweep`: trials that no test sample takes part in, and the best of them with tests."""

import csv
import json
import os
import signal
import time
from pathlib import Path

import pytest
import yaml

from redwood.cli import main
from redwood.engine.folder_lock import FolderLock
from redwood.settings.scores.results import Results
from tests.cli.command import assert_one_sentence, start_copy
from tests.cli.test_kill import PATIENCE_S

PLANTED = Path(__file__).parents[1] / "experiments" / "sweeps" / "planted.py"
ARGUMENTS = ["--setting", "class_incremental", "--method", f"{PLANTED}:Planted", "--passes", "1", "--nb_tasks", "3"]
DATA = ["--dataset", f"{PLANTED}:guarded"]
SWEPT = ["sweep", "strength=log:1e-3..10", "kind=good,bad", *ARGUMENTS]


@pytest.fixture
def guard(tmp_path, monkeypatch):
    """Where uses of test samples are written down."""
    monkeypatch.setenv("GUARD_LOG", str(tmp_path / "guard.txt"))
    monkeypatch.setenv("GUARD_ENDED", str(tmp_path / "sweep" / "sweep.json"))
    return tmp_path / "guard.txt"


def sweep(folder, *more):
    return main([*SWEPT, "--jobs", "1", "--quiet", "--run_dir", str(folder), *more])


def summary(folder):
    """What a sweep has found, without what a clock has measured."""
    found = json.loads((folder / "sweep.json").read_text())
    assert all(trial.pop("seconds") >= 0 for trial in found["trials"])
    assert found["best"].pop("seconds") > 0 and found["cost"].pop("seconds") > 0
    found.pop("arguments")
    return found


class TestSweep:
    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory):
        base = tmp_path_factory.mktemp("swept")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GUARD_LOG", str(base / "guard.txt"))
            patch.setenv("GUARD_ENDED", str(base / "sweep" / "sweep.json"))
            assert sweep(base / "sweep", *DATA, "--trials", "12", "--seeds", "2") == 0
        return base / "sweep"

    def test_no_test_sample_is_looked_at_before_the_end(self, folder):
        seen = (folder.parent / "guard.txt").read_text().splitlines()
        assert seen and set(seen) == {"trials over"}

    def test_a_second_process_is_refused(self, folder, capsys):
        other = FolderLock()
        other.acquire(folder)
        assert main(["resume", str(folder), "--trust"]) == 2
        other.release()
        error = capsys.readouterr().err
        assert_one_sentence(error)
        assert "Another process is writing" in error

    def test_the_guard_tells(self, guard):
        assert main([*ARGUMENTS, *DATA, "--strength", "0.1", "--quiet", "--run_dir", str(guard.parent / "run")]) == 0
        assert "trials over" not in guard.read_text()

    def test_it_finds_the_best(self, folder):
        best = summary(folder)["best"]["parameters"]
        assert best["kind"] == "good" and 0.02 < best["strength"] < 0.5

    def test_trials(self, folder):
        trials = summary(folder)["trials"]
        assert [trial["number"] for trial in trials] == list(range(12))
        assert {trial["state"] for trial in trials} == {"complete", "pruned"}
        assert trials[0]["parameters"] == {"strength": 1.0, "kind": "bad"}, "the defaults"
        for trial in trials:
            results = Results.load(folder / "trials" / f"{trial['number']:03d}" / "results.json")
            assert not results.tested and results.tuning_curve == trial["curve"]
            assert len(trial["curve"]) == 3 or trial["state"] == "pruned"
            assert results.config["strength"] == trial["parameters"]["strength"]

    def test_the_best_is_run_with_tests_and_all_samples(self, folder):
        best = [Results.load(path) for path in sorted(folder.glob("best/*/results.json"))]
        assert [run.seed for run in best] == [0, 1]
        assert all(run.all_tested and not run.validation_matrix for run in best)
        assert best[0].config["strength"] == summary(folder)["best"]["parameters"]["strength"]

    def test_what_tuning_cost_is_told(self, folder):
        assert (folder / "report.html").is_file() and not (folder / "best" / "report.html").exists()
        with (folder / "best" / "comparison.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        cost = json.loads((folder / "sweep.json").read_text())["cost"]
        assert float(row["tuning_trials"]) == cost["trials"] == 12
        assert float(row["tuning_seconds"]) == pytest.approx(cost["seconds"])
        for path in folder.glob("best/*/results.json"):
            assert Results.load(path).cost.tuning == cost

    def test_a_sweep_that_is_over_is_shown(self, folder, guard, capsys):
        before = (folder / "journal.log").read_bytes()
        assert main(["resume", str(folder), "--jobs", "1", "--trust"]) == 0
        assert (folder / "journal.log").read_bytes() == before
        assert "is the best" in capsys.readouterr().out

    def test_code_in_it_is_not_run_without_trust(self, folder, capsys):
        assert main(["resume", str(folder)]) == 2
        assert "add --trust" in capsys.readouterr().err

    def test_nothing_else_goes_beside_resume(self, folder, capsys):
        assert main(["resume", str(folder), "--trials", "40"]) == 2
        assert_one_sentence(capsys.readouterr().err)

    def test_results_of_another_run_in_the_place_of_a_trial(self, folder, tmp_path, guard, capsys):
        assert sweep(tmp_path / "sweep", *DATA, "--trials", "2") == 0
        (tmp_path / "sweep" / "journal.log").unlink()
        other = (folder / "trials" / "007" / "results.json").read_bytes()
        (tmp_path / "sweep" / "trials" / "001" / "results.json").write_bytes(other)
        assert main(["resume", str(tmp_path / "sweep"), "--jobs", "1", "--trust"]) == 2
        assert "is of a run with other options" in capsys.readouterr().err


class TestProtocol:
    def test_the_first_tasks_choose_for_all(self, tmp_path):
        assert sweep(tmp_path / "sweep", "--trials", "3", "--protocol", "first_2_tasks") == 0
        trials = [Results.load(path) for path in sorted(tmp_path.glob("sweep/trials/*/results.json"))]
        assert [len(run.accuracy_matrix) for run in trials] == [2, 2, 2]
        assert trials[0].config["nb_tasks"] == 3
        (best,) = (Results.load(path) for path in tmp_path.glob("sweep/best/*/results.json"))
        assert len(best.accuracy_matrix) == 3 and best.all_tested

    def test_returns_in_training_count_in_environments(self, tmp_path, capsys):
        arguments = ["--setting", "incremental_rl", "--method", "dqn", "--nb_tasks", "2", "--steps_per_task", "128"]
        tried = ["sweep", "learning_rate=log:1e-4..1e-2", "--trials", "2", "--test_episodes", "2"]
        assert main([*tried, *arguments, "--jobs", "1", "--quiet", "--run_dir", str(tmp_path / "sweep")]) == 0
        assert "the return in training counts, exploration included" in capsys.readouterr().out
        found = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
        assert (found["scored_on"], found["measure"], found["validation"]) == ("in training", "return", None)

    @pytest.mark.slow
    def test_two_objectives(self, tmp_path, capsys):
        arguments = ["--setting", "class_incremental", "--method", "finetune", "--passes", "1", "--nb_tasks", "2"]
        tried = ["sweep", "accumulate_grad_batches=1,2", "batch_size=16,64", "--objectives", "accuracy,flops"]
        assert main([*tried, *arguments, "--jobs", "1", "--quiet", "--run_dir", str(tmp_path / "sweep")]) == 0
        found = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
        assert len(found["trials"]) == 4 and found["best"]["number"] in found["pareto_front"]
        assert all(len(trial["values"]) == 2 for trial in found["trials"])
        assert "Pareto front of accuracy and FLOPs: trials" in capsys.readouterr().out

    @pytest.mark.slow
    def test_trials_that_fail(self, tmp_path):
        swept = ["sweep", "kind=good,broken", "size=1..2"]
        assert main([*swept, *ARGUMENTS, "--jobs", "1", "--quiet", "--run_dir", str(tmp_path / "sweep")]) == 0
        trials = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["trials"]
        assert sorted((trial["parameters"]["kind"], trial["state"]) for trial in trials) == [
            *[("broken", "failed")] * 2,
            *[("good", "complete")] * 2,
        ]
        assert {trial["reason"] for trial in trials} == {"", "ArithmeticError: broken"}

    def test_if_all_fail_there_is_no_best(self, tmp_path, capsys):
        swept = ["sweep", "size=1..2", "--kind", "broken"]
        assert main([*swept, *ARGUMENTS, "--jobs", "1", "--quiet", "--run_dir", str(tmp_path / "sweep")]) == 1
        assert "no trial is complete, so that none is the best: ArithmeticError: broken" in capsys.readouterr().out
        assert not (tmp_path / "sweep" / "best").exists()

    def test_if_all_of_the_first_round_fail_in_one_way_it_stops(self, tmp_path, capsys):
        folder = tmp_path / "sweep"
        swept = ["sweep", "strength=1..10", "--kind", "broken", "--trials", "9"]
        assert main([*swept, *ARGUMENTS, "--jobs", "1", "--quiet", "--run_dir", str(folder)]) == 1
        told = "all 4 trials of its first round failed in the same way; mend this, and start the sweep anew"
        assert f"{told}: ArithmeticError: broken" in capsys.readouterr().out
        assert len(json.loads((folder / "sweep.json").read_text())["trials"]) == 4
        assert "--trials 9 " in (folder / "report.html").read_text()
        assert main(["resume", str(folder), "--jobs", "1", "--trust"]) == 1
        assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["strength=1..2", "--trials", "0"], "--trials: 0 has to be at least 1"),
        (["strength=1..2", "--strength", "1"], "--strength is given, and swept"),
        (["strength=1..2", "--lca", "2"], "--lca tests within phases"),
        (["strength=1..2", "--eval_tasks", "none"], "leaves the best options of a sweep without a test"),
        (["strength=1..2", "--validation", "0"], "--validation 0 holds out no sample"),
        (["strength=1..2", "--method", "random,finetune"], "sweep tries options of one pair, but 2"),
        (["strength=1..2", "--protocol", "first_3_tasks"], "leaves no task of the 3"),
    ],
)
def test_usage_errors(arguments, sentence, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ARGUMENTS[:2] + ARGUMENTS[4:] if "--method" in arguments else ARGUMENTS
    assert main(["sweep", *arguments, *given]) == 2
    error = capsys.readouterr().err
    assert_one_sentence(error)
    assert sentence in error
    assert not list(tmp_path.iterdir())


def test_what_is_swept_comes_first(capsys):
    assert main(["sweep", *ARGUMENTS]) == 2
    assert "NAME=VALUES... comes before --setting: python cli.py sweep" in capsys.readouterr().err


OWN = """
from dataclasses import dataclass
from redwood.methods.baselines import Random

@dataclass
class Own(Random):
    trials: int = 1  # a number of its own
"""


def test_a_method_with_an_option_of_the_command_runs_but_is_not_swept(tmp_path, capsys):
    (tmp_path / "own.py").write_text(OWN)
    pair = ["--setting", "class_incremental", "--method", f"{tmp_path / 'own.py'}:Own"]
    assert main([*pair, "--trials", "2", "--run_dir", str(tmp_path / "run"), "--quiet"]) == 0
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["trials"] == 2
    assert main(["sweep", "seed=1,2", *pair]) == 2
    assert "Own and sweep both have an option --trials; rename the field of the class." in capsys.readouterr().err


def test_a_used_folder_is_left_alone(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert sweep(tmp_path) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


ALL = ["--trials", "10", "--slow", "0.05"]


@pytest.mark.slow  # several processes
class TestStopped:
    """Trials that are killed go on, and come to the same."""

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("whole") / "sweep"
        assert sweep(folder, *ALL) == 0
        return summary(folder)

    @staticmethod
    def environment(tmp_path):
        return {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")} | {
            "OMP_NUM_THREADS": "1",
            "PLANTED_LOG": str(tmp_path / "phases.txt"),
        }

    def resumed(self, tmp_path, name):
        return start_copy(
            *["resume", str(tmp_path / "sweep"), "--jobs", "1", "--trust"],
            output=tmp_path / name,
            env=self.environment(tmp_path),
        )

    def begun(self, tmp_path):
        arguments = [*SWEPT, "--jobs", "1", "--quiet", "--run_dir", str(tmp_path / "sweep"), *ALL]
        process = start_copy(*arguments, output=tmp_path / "log.txt", env=self.environment(tmp_path))
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and not (tmp_path / "sweep" / "trials" / "002" / "results.json").exists():
            time.sleep(0.02)
        return process

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_killed_and_resumed(self, tmp_path, whole, number):
        process = self.begun(tmp_path)
        os.kill(process.pid, number)
        process.join(PATIENCE_S)
        assert not (tmp_path / "sweep" / "sweep.json").exists()
        if number == signal.SIGTERM:
            assert f"go on with python cli.py resume {tmp_path / 'sweep'}" in (tmp_path / "log.txt").read_text()
        again = self.resumed(tmp_path, "again.txt")
        again.join(PATIENCE_S)
        assert again.exitcode == 0, (tmp_path / "again.txt").read_text()
        assert summary(tmp_path / "sweep") == whole


def test_a_file_of_values(tmp_path):
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({"size": "1..2", "kind": ["good", "bad"]}))
    arguments = ["sweep", str(tmp_path / "space.yaml"), *ARGUMENTS, "--trials", "2", "--jobs", "1", "--quiet"]
    assert main([*arguments, "--run_dir", str(tmp_path / "sweep")]) == 0
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text())["space"] == {
        "size": "1..2",
        "kind": ["good", "bad"],
    }
