"""`--async`: where it is said, what it does to a run, and what the run directory shows of it."""

import csv
import json

import pytest
import yaml
from PIL import Image

from redwood.cli import main
from redwood.methods.replay import async_strategy
from tests.cli.command import COMMAND_FILES, QUICK

PAIR = ["--setting", "class_incremental", "--method", "rehearsal", "--buffer_size", "30"]
KEYS = {
    *(f"{part}_ms" for part in ("step", "wait", "insert", "counts", "plan", "gather", "exchange")),
    *(f"bytes_{what}" for what in ("sent", "received", "counts")),
    "replayed",
    "steps",
    "stored",
    "stored_by_class",
    "timeline",
}


def matrix_of(folder):
    return json.loads((folder / "results.json").read_text())["accuracy_matrix"]


def config_of(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(async_strategy, "LOG_EVERY", 5)
        assert main([*PAIR, *QUICK, "--async", "--run_dir", str(folder), "--quiet"]) == 0
    return folder


@pytest.mark.parametrize("option", [["--asynchronous"], ["--async", "True"], ["--asynchronous=true"]])
@pytest.mark.few(1)
def test_it_may_be_said_in_several_ways(run, option, tmp_path):
    assert main([*PAIR, *QUICK, *option, "--run_dir", str(tmp_path / "run"), "--quiet"]) == 0
    assert matrix_of(tmp_path / "run") == matrix_of(run)
    assert config_of(tmp_path / "run")["asynchronous"] is True


@pytest.mark.parametrize("option", [[], ["--noasync"], ["--async", "False"]])
@pytest.mark.few(1)
def test_without_it_nothing_is_measured(run, option, tmp_path):
    assert main([*PAIR, *QUICK, *option, "--run_dir", str(tmp_path / "run"), "--quiet"]) == 0
    assert config_of(tmp_path / "run")["asynchronous"] is False
    assert "rehearsal" not in json.loads((tmp_path / "run" / "results.json").read_text())["cost"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == COMMAND_FILES
    assert matrix_of(tmp_path / "run") != matrix_of(run)


def test_its_config_reproduces_a_run(run, tmp_path):
    assert config_of(run)["asynchronous"] is True
    assert main(["--config", str(run / "config.yaml"), "--run_dir", str(tmp_path / "again"), "--quiet"]) == 0
    assert matrix_of(tmp_path / "again") == matrix_of(run)
    assert config_of(tmp_path / "again") == config_of(run)


def test_help(capsys):
    assert main([*PAIR[:4], "--help", "all"]) == 0
    text = capsys.readouterr().out
    assert "--async [bool], --asynchronous [bool]" in text
    assert "draw from the buffers of all workers, in the" in text


class TestCosts:
    @pytest.fixture(scope="class")
    @classmethod
    def cost(cls, run):
        return json.loads((run / "results.json").read_text())["cost"]["rehearsal"]

    def test_keys(self, cost):
        assert cost.keys() == KEYS

    def test_what_is_stored_and_replayed(self, cost):
        assert cost["stored"] == [30]
        assert [sum(by_class.values()) for by_class in cost["stored_by_class"]] == [30]
        assert set(cost["stored_by_class"][0]) <= {str(label) for label in range(10)}
        assert 0.8 * 30 < cost["replayed"] <= 32  # the batch size, but there are no more than 30
        assert cost["steps"] > 30

    def test_alone_there_is_nobody_to_send_to(self, cost):
        assert [cost[f"bytes_{what}"] for what in ("sent", "received", "counts")] == [0, 0, 0]

    def test_times(self, cost):
        assert all(cost[key] >= 0 for key in KEYS if key.endswith("_ms"))
        assert cost["step_ms"] > sum(cost[f"{part}_ms"] for part in ("wait", "insert", "plan", "gather")) > 0

    def test_timeline(self, cost, run):
        assert all(start <= end for _, start, end in cost["timeline"])
        assert {"step", "wait", "plan"} <= {name for name, _, _ in cost["timeline"]}
        with Image.open(run / "rehearsal_timeline.png") as image:
            assert min(image.size) > 300

    def test_logged_on_the_way(self, run):
        with (run / "metrics.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("rehearsal/wait_ms")]
        names = {name.removeprefix("rehearsal/") for name in rows[0] if name.startswith("rehearsal/")}
        assert names == KEYS - {"stored", "stored_by_class", "timeline"}
        steps = [int(row["step"]) for row in rows]
        assert len(steps) > 4
        assert steps == sorted(set(steps))
        assert [float(row["rehearsal/steps"]) for row in rows] == [step + 1 for step in steps]
