"""A suite from the command line: benches that fail in each way, re-reports, comparisons, resuming."""

import json
import shutil

import pytest
import yaml

from redwood.cli import main

METHODS = """
from dataclasses import dataclass
from redwood.methods.baselines import Finetune

class Raising(Finetune):
    def on_task_start(self, task_id):
        raise ArithmeticError("broken on purpose")

class NotANumber(Finetune):
    def loss(self, step):
        return super().loss(step) * float("nan")
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    (folder / "mine.py").write_text(METHODS)
    shared = {"passes": 1, "nb_tasks": 2, "accelerator": "cpu"}
    suite = {
        "_defaults": {"setting": "class_incremental", "seeds": 2, "options": shared},
        "good": {"inherits": "_defaults", "method": "finetune", "expect": {"average_accuracy": [0.05, 1.0]}},
        "raises": {"inherits": "_defaults", "method": f"{folder}/mine.py:Raising", "weight": 2},
        "nan": {"inherits": "_defaults", "method": f"{folder}/mine.py:NotANumber"},
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    code = main(["bench", str(folder / "suite.yaml"), "--trust", "--run_dir", str(folder / "run")])
    assert code == 1
    return folder / "run"


@pytest.fixture
def copy(ran, tmp_path):
    return shutil.copytree(ran, tmp_path / "copy")


def benches(folder):
    content = json.loads((folder / "bench_report.json").read_text())
    return {bench["bench"]: bench for bench in content["benches"]}


def test_each_failure_is_seen_and_counted(ran):
    found = benches(ran)
    assert {name: (bench["failed"], bench["passed"]) for name, bench in found.items()} == {
        "good": (0, True),
        "raises": (2, False),
        "nan": (2, False),
    }
    assert "broken on purpose" in found["raises"]["problems"][0]
    assert "loss is nan" in found["nan"]["problems"][0]
    page = (ran / "bench_report.md").read_text()
    assert "FAIL: 1 of 3 benches pass; 4 of 6 runs failed or are missing." in page


def test_events_are_raw_lines_of_json(ran):
    events = [json.loads(line) for line in (ran / "events" / "good-seed1.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[:3] == ["config", "meta", "start"] and kinds[-1] == "end" and set(kinds[3:-1]) == {"data"}
    assert events[0]["seed"] == 1 and events[-1]["rc"] == 0
    keys = {key for event in events for key in event}
    assert {"loss", "accuracy", "rate", "metrics", "cost"} <= keys


def test_a_report_again_is_the_same_to_the_byte(copy, capsys):
    before = {path.name: path.read_bytes() for path in copy.glob("bench_report.*")}
    assert main(["bench", str(copy)]) == 1
    assert len(before) == 2
    assert {path.name: path.read_bytes() for path in copy.glob("bench_report.*")} == before
    assert before["bench_report.md"].decode() in capsys.readouterr().out


def test_a_removed_file_fails_and_does_not_vanish(copy):
    for seed in range(2):
        (copy / "events" / f"good-seed{seed}.jsonl").unlink()
    assert main(["bench", str(copy)]) == 1
    assert benches(copy)["good"]["problems"] == ["good-seed0 did not run", "good-seed1 did not run"]
    assert json.loads((copy / "bench_report.json").read_text())["quality"] == 0


def test_a_file_that_was_cut_short(copy):
    path = copy / "events" / "good-seed0.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert main(["bench", str(copy)]) == 1
    assert benches(copy)["good"]["problems"] == ["good-seed0 did not end"]


def test_a_damaged_file(copy, capsys):
    path = copy / "events" / "good-seed0.jsonl"
    path.write_text("{\n" + path.read_text())
    assert main(["bench", str(copy)]) == 2
    assert "is damaged in line 1" in capsys.readouterr().err


def test_compared_with_itself(copy, ran):
    assert main(["bench", str(copy), "--compare", str(ran)]) == 1
    page = (copy / "bench_report.md").read_text()
    (line,) = [line for line in page.split("Compared")[1].splitlines() if line.startswith("| good ")]
    assert line.endswith("| 1.000 |") and "+0.0000" in line
    assert "speed 1.000" in page


def test_compared_with_other_work_elsewhere(copy, ran, tmp_path):
    stored = shutil.copytree(ran, tmp_path / "stored")
    suite = json.loads((stored / "bench.json").read_text())
    suite["benches"][0]["options"]["passes"] = 99
    (stored / "bench.json").write_text(json.dumps(suite))
    for path in (stored / "events").glob("*.jsonl"):
        path.write_text(path.read_text().replace('"torch": "', '"torch": "0.'))
    assert main(["bench", str(copy), "--compare", str(stored)]) == 1
    page = (copy / "bench_report.md").read_text()
    assert "Not compared, as setting, method, options or seeds differ: good." in page
    assert "The stored run had torch 0." in page
    (line,) = [line for line in page.split("Compared")[1].splitlines() if line.startswith("| good ")]
    assert line.count("\N{EN DASH}") == 4


def test_what_is_missing_runs_again(copy, capsys):
    suite = json.loads((copy / "bench.json").read_text())
    suite["benches"] = suite["benches"][:1]
    (copy / "bench.json").write_text(json.dumps(suite))
    (copy / "events" / "good-seed1.jsonl").unlink()
    kept = (copy / "events" / "good-seed0.jsonl").read_bytes()
    assert main(["resume", str(copy)]) == 0
    assert (copy / "events" / "good-seed0.jsonl").read_bytes() == kept
    assert benches(copy)["good"]["failed"] == 0
    assert "1 of 1 benches pass; 0 of 2 runs failed" in capsys.readouterr().out


def test_outside_of_expectations(copy):
    suite = json.loads((copy / "bench.json").read_text())
    suite["benches"] = suite["benches"][:1]
    suite["benches"][0]["expect"] = {"average_accuracy": [0.99, 1.0]}
    (copy / "bench.json").write_text(json.dumps(suite))
    assert main(["bench", str(copy)]) == 1
    assert "expected in [0.99, 1]" in benches(copy)["good"]["problems"][0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["bench", "nothing"], "bench nothing is no suite"),
        (["bench", "smoke", "--seeds", "3"], "no option --seeds for the command bench"),
        (["bench", "smoke", "--method", "ewc"], "no option --method for the command bench"),
        (["bench", "smoke", "--lr", "3"], "There is no option --lr for the command bench"),
        (["bench", "smoke", "--select", "x"], "--select x is no bench"),
        (["bench", "smoke", "--compare", "."], "--compare . holds no run of a suite"),
        (["bench", "."], "holds no run of a suite"),
        (["bench", "smoke", "--run_dir", "."], "is not an empty folder"),
    ],
)
def test_bad_input(arguments, sentence, capsys):
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_code_of_a_suite_has_to_be_trusted(ran, capsys):
    assert main(["bench", str(ran.parent / "suite.yaml")]) == 2
    assert "names code that would be run" in capsys.readouterr().err
    assert main(["resume", str(ran)]) == 2
    assert "names code that would be run" in capsys.readouterr().err


def test_a_bench_whose_method_does_not_apply(tmp_path, capsys):
    (tmp_path / "suite.yaml").write_text("a: {setting: continual, method: packnet}")
    assert main(["bench", str(tmp_path / "suite.yaml"), "--run_dir", str(tmp_path / "run")]) == 2
    assert "The bench a cannot run: " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
