"""`--setting class_incremental --method rehearsal`: the job that all else is about."""

import csv
import json
import sys
from pathlib import Path

import pytest
import yaml

from redwood import __version__
from redwood.cli import main
from redwood.settings.scores.cost import USES
from redwood.settings.scores.results import Results
from tests.cli.command import COMMAND_FILES, QUICK, content, run
from tests.small_runs import MEASURED

OPTIONS = ["--setting", "class_incremental", "--method", "rehearsal", "--passes", "3"]
EXPECTED = {
    "metrics": {
        "average_accuracy",
        "average_incremental_accuracy",
        "forgetting",
        "backward_transfer",
        "forward_transfer",
        "online_accuracy",
    },
    "cost": {
        "wall_time_s",
        "training_time_s",
        "evaluation_time_s",
        "training_samples",
        "samples_per_s",
        "training_flops",
        "parameters",
        "peak_memory_bytes",
        "buffer_bytes",
        "flops",
    },
}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The main job, started in another folder than that of the code: its folder and its process."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = run(*OPTIONS, "--accelerator", "cpu", "--run_dir", str(folder), cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return folder, done


class TestFiles:
    def test_names(self, job):
        folder, _ = job
        assert {path.name for path in folder.iterdir()} == COMMAND_FILES
        assert [path.name for path in (folder / "checkpoints").iterdir()] == ["boundary.pt"]

    def test_results_have_exactly_these_keys(self, job):
        results = json.loads((job[0] / "results.json").read_text())
        assert results.keys() == {
            "setting",
            "method",
            "dataset",
            "seed",
            "accuracy_matrix",
            "online_accuracy",
            "metrics",
            "cost",
            "versions",
            "config",
            "slices",
            "reproduction",
        }
        for part, keys in EXPECTED.items():
            assert results[part].keys() == keys

    def test_results_are_of_this_run(self, job):
        results = json.loads((job[0] / "results.json").read_text())
        assert [results[key] for key in ("setting", "method", "dataset", "seed")] == [
            "class_incremental",
            "rehearsal",
            "digits",
            0,
        ]
        matrix = results["accuracy_matrix"]
        assert [len(row) for row in matrix] == [5] * 5
        assert results["metrics"]["average_accuracy"] == pytest.approx(sum(matrix[-1]) / 5)
        assert all(matrix[i][j] == 0 for i in range(5) for j in range(i + 1, 5))
        assert results["cost"]["training_samples"] == 3 * results["online_accuracy"][-1][0] == 3 * 1437
        flops = results["cost"].pop("flops")
        assert all(value > 0 for value in results["cost"].values())
        assert sum(flops["training"]) == pytest.approx(results["cost"]["training_flops"])
        assert [flops[use] for use in USES if use != "training"] == [[0.0] * 5] * 3
        assert {"format": 2} | results["config"] == yaml.safe_load((job[0] / "config.yaml").read_text())

    def test_metrics(self, job):
        with (job[0] / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["phase"] for row in rows if row["phase"]] == list("01234")
        steps = [int(row["step"]) for row in rows if row["phase"]]
        assert [int(row["step"]) for row in rows if row["loss"]] == steps
        assert steps == [27, 54, 84, 111, 141]

    def test_pictures(self, job):
        for name in ("accuracy_matrix.png", "accuracy_curve.png", "cost_curve.png"):
            assert (job[0] / name).read_bytes().startswith(b"\x89PNG")


class TestOutput:
    def test_plain_lines_where_stdout_is_no_terminal(self, job):
        folder, done = job
        assert done.stderr == ""
        assert "\x1b" not in done.stdout and "\r" not in done.stdout
        lines = done.stdout.splitlines()
        assert lines[0] == "loading torch and Lightning"
        assert [line.partition(":")[0] for line in lines[1:6]] == [f"phase {n}/5" for n in range(1, 6)]
        assert lines[-1] == f"written to {folder}"

    def test_tables(self, job):
        results = Results.load(job[0] / "results.json")
        lines = [line.strip() for line in job[1].stdout.splitlines()]
        last = " ".join(f"{100 * accuracy:.1f}" for accuracy in results.accuracy_matrix[-1])
        assert f"after task 4 {last}" in [" ".join(line.split()) for line in lines]
        assert f"average accuracy {100 * results.objective:.1f}" in [" ".join(line.split()) for line in lines]


def test_its_config_reproduces_it(job, tmp_path, capsys):
    folder, _ = job
    again = tmp_path / "again"
    assert main(["--config", str(folder / "config.yaml"), "--run_dir", str(again), "--quiet"]) == 0
    one, other = (json.loads((path / "results.json").read_text()) for path in (folder, again))
    for name in MEASURED:
        for results in (one, other):
            results["cost"].pop(name, None)
    assert one == other
    assert content(folder)["metrics.csv"] == content(again)["metrics.csv"]
    assert "phase" not in capsys.readouterr().out


def test_the_console_script(tmp_path):
    script = Path(sys.executable).with_name("redwood")
    assert script.exists(), "install redwood in this environment: pip install -e ."
    done = run("--version", cwd=tmp_path, command=[str(script)])
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")


def test_it_writes_to_runs_where_it_is_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--setting", "class_incremental", "--method", "random", *QUICK[:4], "--quiet"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("-class_incremental-random")
    assert {path.name for path in folder.iterdir()} == COMMAND_FILES - {"cost_curve.png", "cost_curve.svg"}, (
        "guessing computes nothing"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
