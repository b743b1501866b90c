"""Weights & Biases: an offline run is read back; online without a key or a network is one sentence."""

import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

import redwood
from redwood.cli import main
from redwood.core.parts import flat
from redwood.engine.loggers import _wandb_id
from redwood.engine.run import Run
from tests.cli.command import QUICK, assert_one_sentence, content, environment, start_copy
from tests.samples import few_digits

PAIR = ["--setting", "class_incremental", "--method", "rehearsal"]
PICTURES = ("accuracy_matrix.png", "accuracy_curve.png", "cost_curve.png")
SWEEP = Path(__file__).parents[2] / "examples" / "wandb_sweep.yaml"

FRAGILE = """
import os
from redwood.methods.baselines import Finetune

class Fragile(Finetune):
    def on_task_start(self, task_id):
        if task_id == 1 and "BREAK_FRAGILE" in os.environ:
            raise ArithmeticError
"""


@pytest.fixture(scope="module", autouse=True)
def own_folders(tmp_path_factory):
    """Nothing of the user's, and nothing for the user; mode and project of the command line win over these."""
    folder = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CACHE", "CONFIG", "DATA"):
            patch.setenv(f"WANDB_{name}_DIR", str(folder))
        patch.setenv("WANDB_MODE", "disabled")
        patch.setenv("WANDB_PROJECT", "of-the-environment")
        yield


def records(run_dir: Path, number: int = 0) -> list[dict]:
    """What an offline run has recorded, by W&B's own reader, once W&B's own process has written all of it."""
    pytest.importorskip("wandb", minversion="0.31", reason="older ones have no reader for offline runs")
    path = sorted(run_dir.glob("wandb/offline-run-*/*.wandb"))[number]
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    for _ in range(10):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment())
        found = [json.loads(line) for line in done.stdout.splitlines()]
        if of("exit", found):
            return found
        time.sleep(2)
    raise AssertionError(f"{path} lacks the record of the run's end")


def of(kind: str, found: list[dict]) -> list[dict]:
    return [record[kind] for record in found if record["type"] == kind]


class TestOffline:
    @pytest.fixture(scope="class")
    @classmethod
    def logged(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("runs") / "my-run"
        assert main([*PAIR, *QUICK, "--run_dir", str(folder), "--wandb", "offline", "--project", "my-project"]) == 0
        return folder, records(folder)

    def test_run(self, logged):
        folder, found = logged
        (run,) = of("run", found)
        assert (run["project"], run["display_name"]) == ("my-project", "my-run")
        config = {name: value for name, value in run["config"]["update"].items() if name != "_wandb"}
        assert {"format": 2} | config == flat(yaml.safe_load((folder / "config.yaml").read_text()))
        assert [record["exit_code"] for record in of("exit", found)] == [0]

    def test_every_row_of_losses_and_phases(self, logged):
        folder, found = logged
        with (folder / "metrics.csv").open(newline="") as file:
            rows = [
                {name.replace("step", "trainer/global_step"): float(value) for name, value in row.items() if value}
                for row in csv.DictReader(file)
            ]
        history = [record["item"] for record in of("history", found)]
        logged_rows = [
            {name: value for name, value in item.items() if not name.startswith("_")}
            for item in history
            if not any(name.startswith("accuracy_") for name in item)
        ]
        assert rows == logged_rows
        assert sum("loss" in row for row in rows) == sum("phase" in row for row in rows) == 2
        axes = of("metric", found)
        assert any(axis.get("glob_name") == "*" and axis["step_metric"] == "trainer/global_step" for axis in axes)

    def test_final_metrics_and_cost(self, logged):
        folder, found = logged
        results = json.loads((folder / "results.json").read_text())
        summary = {name: value for record in of("summary", found) for name, value in record["update"].items()}
        expected = results["metrics"] | {f"cost/{name}": value for name, value in results["cost"].items()}
        assert {name: summary[name] for name in expected} == expected

    def test_pictures(self, logged):
        folder, found = logged
        (item,) = [
            record["item"] for record in of("history", found) if any("accuracy_curve" in n for n in record["item"])
        ]
        for name in ("accuracy_curve", "accuracy_matrix"):
            (picture,) = folder.glob(f"wandb/offline-run-*/files/{item[f'{name}.path']}")
            assert picture.read_bytes() == (folder / f"{name}.png").read_bytes()

    def test_artifact(self, logged, tmp_path):
        folder, found = logged
        (artifact,) = of("artifact", found)
        assert artifact["type"] == "run"
        files = {entry["path"]: int(entry["size"]) for entry in artifact["manifest"]["contents"]}
        names = ("config.yaml", "results.json", "metrics.csv", "checkpoints/boundary.pt", *PICTURES)
        assert files == {name: (folder / name).stat().st_size for name in names}
        for name in files:  # what a download of the artifact would make
            (tmp_path / name).parent.mkdir(exist_ok=True)
            shutil.copy(folder / name, tmp_path / name)
        x = few_digits().x_test[:5]
        assert torch.equal(redwood.load(tmp_path).scores(x), redwood.load(folder).scores(x))


class TestWithoutTests:
    """Runs that try options test nothing, so nothing is drawn."""

    def test_the_command_of_the_example_of_a_sweep(self, tmp_path, monkeypatch):
        monkeypatch.setenv("WANDB_MODE", "offline")
        folder = tmp_path / "run"
        command = yaml.safe_load(SWEEP.read_text())["command"][3:-1]
        assert main([*command, *QUICK, "--quiet", "--run_dir", str(folder)]) == 0
        found = records(folder)
        assert [record["exit_code"] for record in of("exit", found)] == [0]
        (artifact,) = of("artifact", found)
        files = {entry["path"] for entry in artifact["manifest"]["contents"]}
        assert files == {"config.yaml", "results.json", "metrics.csv", "checkpoints/boundary.pt"}
        assert "average_validation_accuracy" in of("history", found)[-1]["item"]

    @pytest.mark.slow
    def test_a_sweep_of_ours(self, tmp_path):
        swept = ["sweep", "batch_size=16,32", *PAIR, *QUICK, "--wandb", "offline", "--jobs", "1"]
        assert main([*swept, "--quiet", "--run_dir", str(tmp_path / "sweep")]) == 0
        trials = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["trials"]
        assert [trial["state"] for trial in trials] == ["complete"] * 2


def test_environments_are_logged_alike_and_offline_if_the_environment_says_so(tmp_path, monkeypatch):
    """`WANDB_MODE=offline` is what clusters without a network set."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "run"
    options = ["--steps_per_task", "400", "--nb_tasks", "2", "--test_episodes", "2", "--run_dir", str(folder)]
    assert main(["--setting", "incremental_rl", "--method", "a2c", *options, "--wandb", "online", "--quiet"]) == 0
    found = records(folder)
    results = json.loads((folder / "results.json").read_text())
    history = [record["item"] for record in of("history", found)]
    rows = [[item[f"return/task_{task}"] for task in range(2)] for item in history if "phase" in item]
    assert rows == results["return_matrix"]
    assert any(name.startswith("train/") for item in history for name in item)
    assert any("return_curve.path" in item for item in history)
    summary = {name: value for record in of("summary", found) for name, value in record["update"].items()}
    assert summary["average_return"] == results["metrics"]["average_return"]


def test_what_the_environment_says_wins_over_what_is_not_given(tmp_path, monkeypatch):
    """As sweeps and launchers say it; a resumed run goes on with the id and the project that it began with."""
    said = {"RUN_ID": "my-id", "PROJECT": "sweeping", "RUN_GROUP": "mine", "NAME": "first", "DIR": str(tmp_path)}
    for name, value in said.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    options = [*PAIR, *QUICK, "--wandb", "offline", "--quiet", "--run_dir", str(tmp_path / "run")]
    assert main(options) == 0
    (logged,) = of("run", records(tmp_path))
    assert (logged["run_id"], logged["project"]) == ("my-id", "sweeping")
    assert (logged["run_group"], logged["display_name"]) == ("mine", "first")
    assert not (tmp_path / "run" / "wandb").exists()
    assert flat(yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()))["project"] == "sweeping"
    monkeypatch.delenv("WANDB_RUN_ID")
    again = Run(run_dir=str(tmp_path / "run"), wandb="offline")
    assert _wandb_id(again) == "my-id"
    monkeypatch.setenv("WANDB_RUN_ID", "another")
    assert _wandb_id(again) == "another"


def test_one_id_for_several_runs_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_RUN_ID", "my-id")
    arguments = [*PAIR, *QUICK, "--seeds", "2", "--run_dir", str(tmp_path / "compared")]
    assert main([*arguments, "--wandb", "offline"]) == 2
    message = capsys.readouterr().err
    assert_one_sentence(message)
    assert "WANDB_RUN_ID names one" in message
    assert not (tmp_path / "compared").exists()


def test_it_says_where_and_nothing_else(tmp_path, capfd):
    assert main([*PAIR, *QUICK, "--run_dir", str(tmp_path / "run"), "--wandb", "offline"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert out.startswith(f"Weights & Biases: {tmp_path}/run/wandb/offline-run-")


@pytest.mark.slow
def test_failed_and_resumed(tmp_path, monkeypatch, capfd):
    """A failed run is marked so, the next one of the comparison is its own, and resuming goes on under the same id."""
    (tmp_path / "fragile.py").write_text(FRAGILE)
    methods = f"{tmp_path}/fragile.py:Fragile,finetune"
    folder = tmp_path / "compared"
    monkeypatch.setenv("BREAK_FRAGILE", "1")
    arguments = ["--setting", "class_incremental", "--method", methods, *QUICK, "--jobs", "1", "--wandb", "offline"]
    assert main([*arguments, "--quiet", "--run_dir", str(folder)]) == 1
    broken, fine = folder / "class_incremental-Fragile", folder / "class_incremental-finetune"
    first, other = records(broken), records(fine)
    assert [record["exit_code"] for record in of("exit", first) + of("exit", other)] == [1, 0]
    assert [of("run", found)[0]["config"]["update"]["method"] for found in (first, other)] == methods.split(",")
    assert [of("run", found)[0]["run_group"] for found in (first, other)] == ["compared", "compared"]
    monkeypatch.delenv("BREAK_FRAGILE")
    assert main(["resume", str(broken), "--trust"]) == 0
    second = records(broken, 1)
    ids = [of("run", found)[0]["run_id"] for found in (first, second, other)]
    assert ids[0] == ids[1] != ids[2]
    phases = [
        [record["item"]["phase"] for record in of("history", found) if "phase" in record["item"]]
        for found in (first, second)
    ]
    assert phases == [[0], [1]]
    capfd.readouterr()


def test_disabled_by_default(tmp_path, monkeypatch):
    """Without being asked for, it is not even imported."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main([*PAIR, *QUICK, "--run_dir", str(tmp_path / "run"), "--quiet"]) == 0
    assert not (tmp_path / "run" / "wandb").exists()


def test_online_without_a_key_or_a_network(tmp_path):
    """Soon, and nothing is left behind. Nobody listens at the port, so no machine outside is asked."""
    unreachable = environment(HOME=str(tmp_path), WANDB_BASE_URL="http://127.0.0.1:9", WANDB_INIT_TIMEOUT="3")
    environments = [unreachable, unreachable | {"WANDB_API_KEY": "0" * 40}]
    logs = [tmp_path / "log0.txt", tmp_path / "log1.txt"]
    started = [
        start_copy(*PAIR, "--run_dir", f"run{n}", "--wandb", "online", output=logs[n], cwd=tmp_path, env=env)
        for n, env in enumerate(environments)
    ]
    for process, log in zip(started, logs, strict=True):
        process.join(120)
        assert process.exitcode == 2
        assert_one_sentence(log.read_text())
        assert "use --wandb offline" in log.read_text()
    assert not [name for name in content(tmp_path) if name.startswith("run")]
