"""Runs that are stopped from outside, as a cluster or a user does it, and then resumed."""

import contextlib
import csv
import json
import os
import pty
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from redwood.cli import main
from tests.cli.command import content, start_copy
from tests.cli.kill_runs import GONE_S, Place, differences, exit_status, is_worker, kill_and_resume, session, wait_until
from tests.small_runs import MEASURED

DEFAULTS = {"--setting": "class_incremental", "--nb_tasks": "2", "--passes": "8", "--accelerator": "cpu"}
PATIENCE_S = 90


def long(*options: str) -> list[str]:
    """A run that takes a while, with these options or the defaults of this test."""
    given = (*options, "--nb_tasks", "--passes") if "osaka" in options else options
    return [part for pair in DEFAULTS.items() if pair[0] not in given for part in pair] + list(options)


def wait_for(path: Path, is_alive: Callable[[], bool]) -> None:
    """Until a file is there: looking often, so that little more of the run goes by."""
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert is_alive(), "the run ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def comparable(folder: Path) -> dict:
    results = json.loads((folder / "results.json").read_text())
    for name in MEASURED:
        results["cost"].pop(name, None)
    return results


def logged(folder: Path) -> list[dict[str, str]]:
    """What was logged, but for measured times."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{name: text for name, text in row.items() if "rehearsal/" not in name} for row in csv.DictReader(file)]
    return [row for row in rows if any(text for name, text in row.items() if name != "step")]


def whole(folder: Path, *options: str) -> Path:
    """The same run, never stopped."""
    assert main(long(*options, "--run_dir", str(folder), "--quiet")) == 0
    return folder


QUICK = ("rehearsal", "async_rehearsal")  # the state of every method is tested in tests/engine/test_resume.py
SLOW = (
    "gdumb",
    "generative_rehearsal",
    "icarl",
    "ewc",
    "dtp",
    "er_ace",
    "der",
    "der_pp",
    "agem",
    "mir",
    "lwf",
    "lwf_mc",
    "hybrid1",
    "fixed",
    "two_side",
    "bic",
    "wa",
    "stable_sgd",
    "background",
    "widen",
    "si",
    "mas",
    "rwalk",
    "packnet",
    "hat",
    "pnn",
    "c_ada",
    "reuse_outputs",
    "hard_moe",
    "fedavg",
    "fedssi",
    "maml",
    "anil",
    "continual_maml",
    "finetune_from",
    "mntdp",
    "composable",
)
IN_OSAKA = ("maml", "anil", "continual_maml")
NEEDS_IDS = ("packnet", "hat", "pnn", "finetune_from", "mntdp", "composable")
NEEDS_CLIENTS = ("fedavg", "fedssi")


@pytest.mark.parametrize("method", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_kill_9_inside_a_phase(method, tmp_path, capsys):
    options = ["--method", method, "--checkpoint_every", "7"]
    if method in NEEDS_IDS:
        options += ["--setting", "task_incremental"]
    if method in NEEDS_CLIENTS:
        options += ["--setting", "federated_class_incremental", "--rounds", "4"]
    if method in IN_OSAKA:
        options += ["--setting", "osaka", "--pretraining", "10", "--timesteps", "600"]
    folder = tmp_path / "killed"
    process = start_copy(*long(*options, "--run_dir", str(folder)), output=tmp_path / "log.txt")
    wait_for(folder / "checkpoints" / "inside-phase-001.ckpt", process.is_alive)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (folder / "results.json").exists()
    assert (folder / "checkpoints" / "inside-phase-001.ckpt").exists()

    moved = folder.rename(tmp_path / "moved")
    assert main(["resume", str(moved)]) == 0
    output = capsys.readouterr()
    assert "phase 2/2" in output.out and "phase 1/2" not in output.out, "what is done is not done again"
    assert output.err == ""
    expected = whole(tmp_path / "whole", *options)
    assert comparable(moved) == comparable(expected)
    assert logged(moved) == logged(expected)
    assert content(moved)["config.yaml"] == content(expected)["config.yaml"]
    assert [path.name for path in (moved / "checkpoints").iterdir()] == ["boundary.pt"]


@pytest.mark.slow
@pytest.mark.parametrize("who", ["main", "worker", "group"])
def test_kill_9_of_two_workers_leaves_nothing(who, tmp_path):
    """At a random moment; more of them, over more methods, in benchmarks/kill_runs.py."""
    arguments = long("--passes", "4", "--workers", "2", "--method", "async_rehearsal", "--quiet")
    whole = Place(tmp_path / "whole", "spawn")
    assert whole.complete(*arguments, "--run_dir", str(whole.run)) == 0, whole.log.read_text()
    killed = kill_and_resume(tmp_path / "killed", arguments, whole.run, 4.0, 0, who, "spawn")
    assert (killed.left, killed.differs) == ([], []), killed.log


def test_resume_of_a_complete_run_only_shows_it(tmp_path, capsys):
    folder = whole(tmp_path / "run", "--method", "finetune", "--passes", "1")
    before = content(folder)
    for name in (".lock", ".metrics.csv.1.tmp"):  # killed after the results were written
        (folder / name).touch()
    capsys.readouterr()
    assert main(["resume", str(folder)]) == 0
    output = capsys.readouterr().out
    assert "average accuracy" in output and f"{folder} is complete; nothing is left to do." in output
    assert "phase" not in output
    assert content(folder) == before


class TestDamage:
    """What is wrong with a run directory is said in one sentence, and the directory stays as it was."""

    @pytest.fixture
    def run(self, tmp_path):
        folder = whole(tmp_path / "run", "--method", "finetune", "--passes", "1")
        (folder / "results.json").unlink()
        return folder

    @pytest.mark.parametrize(
        ("name", "data", "sentence"),
        [
            ("checkpoints/boundary.pt", b"PK", r"boundary\.pt is damaged .*; start the run anew"),
            ("checkpoints/inside-phase-000.ckpt", b"PK", None),  # of a phase that is over: of no interest
            ("config.yaml", b"setting: [", "config.yaml is not valid YAML"),
            ("config.yaml", b"format: 2\nlr: 0.1\n", "names no setting and method"),
            (
                "config.yaml",
                b"format: 2\nsetting: class_incremental\nmethod: finetune\nfoo: 1\n",
                "There is no option --foo",
            ),
            ("config.yaml", b"setting: class_incremental\nmethod: finetune\n", "written by another version of redwood"),
            ("results.json", b"{", "results.json is damaged"),
        ],
    )
    def test_one_sentence(self, run, name, data, sentence, capsys):
        (run / name).write_bytes(data)
        before = content(run)
        code = main(["resume", str(run)])
        if sentence is None:
            assert code == 0
            return
        assert code == 2
        assert re.search(f"^error: .*{sentence}.*\n$", capsys.readouterr().err)
        assert content(run) == before


def test_ctrl_c_on_a_terminal(tmp_path, capsys):
    """There is a live bar; an interrupt says how to go on, and the run does go on from there."""
    terminal, end = pty.openpty()
    folder = tmp_path / "run"
    options = ["--method", "finetune", "--checkpoint_every", "10"]
    arguments = long(*options, "--passes", "40", "--run_dir", str(folder))
    process = start_copy(*arguments, output=Path(os.ttyname(end)))
    parts: list[bytes] = []
    reader = threading.Thread(target=read_all, args=(terminal, parts))
    reader.start()  # a terminal that nobody reads from would hold the run up
    wait_for(folder / "checkpoints" / "inside-phase-001.ckpt", process.is_alive)
    os.kill(process.pid, signal.SIGINT)
    process.join(PATIENCE_S)
    assert process.exitcode == 130
    os.close(end)
    reader.join()
    shown = b"".join(parts).decode()
    assert "\x1b[" in shown and "━" in shown, "a bar is drawn with these"
    assert re.search(r"phase 1/2: \d+ steps in [\d.]+ s, accuracy on the tasks so far [\d.]+ %", shown)
    message = shown.rstrip().splitlines()[-1]
    assert message.endswith(f"interrupted; go on with python cli.py resume {folder}")
    assert "Traceback" not in shown
    assert not (folder / "results.json").exists()
    assert main(["resume", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^goes on inside phase 2/2, after its step \d+; [\d.]+ s before that phase$", shown, re.MULTILINE)
    assert "wall time of all sittings" in shown
    expected = whole(tmp_path / "whole", *options, "--passes", "40")
    assert comparable(folder) == comparable(expected)
    assert content(folder)["metrics.csv"] == content(expected)["metrics.csv"]


def test_a_scheduler_ends_a_run(tmp_path):
    """By SIGTERM; what comes after it must not take the run for complete."""
    folder = tmp_path / "run"
    options = ["--method", "finetune", "--passes", "400", "--checkpoint_every", "10", "--run_dir", str(folder)]
    process = start_copy(*long(*options), "--quiet", output=tmp_path / "log.txt")
    wait_for(folder / "checkpoints" / "inside-phase-000.ckpt", process.is_alive)
    process.terminate()
    process.join(PATIENCE_S)
    assert process.exitcode == 143
    assert (tmp_path / "log.txt").read_text() == f"terminated; go on with python cli.py resume {folder}\n"
    assert not (folder / "results.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("who", ["main", "worker", "all"])
def test_a_scheduler_ends_two_workers(who, tmp_path):
    """By SIGUSR1, which SLURM sends to all processes of a job step; a checkpoint is saved, and one line is told."""
    arguments = long("--passes", "20", "--workers", "2", "--method", "async_rehearsal", "--quiet")
    whole = Place(tmp_path / "whole", "fork")
    assert whole.complete(*arguments, "--run_dir", str(whole.run)) == 0, whole.log.read_text()
    place = Place(tmp_path / "stopped", "fork")
    leader = place.start(*arguments, "--run_dir", str(place.run))
    wait_until(lambda: (place.run / "checkpoints" / "boundary.pt").exists(), leader)
    time.sleep(1)  # in the first phase, whose only checkpoint is the one of the signal
    workers = [number for number in session(leader) if is_worker(number, leader)]
    assert len(workers) == 2
    for number in {"main": [leader], "worker": workers[1:], "all": [leader, *workers]}[who]:
        os.kill(number, signal.SIGUSR1)
    assert exit_status(leader) == 143
    assert place.log.read_text().splitlines()[-1] == f"terminated; go on with python cli.py resume {place.run}"
    assert "Traceback" not in place.log.read_text()
    assert list((place.run / "checkpoints").glob("inside-phase-*.ckpt"))
    deadline = time.monotonic() + GONE_S
    while session(leader) and time.monotonic() < deadline:
        time.sleep(0.01)  # the process that keeps track of semaphores ends after all others
    assert not session(leader) and not place.left()
    assert place.complete("resume", str(place.run)) == 0
    assert differences(place.run, whole.run) == []


def read_all(terminal: int, parts: list[bytes]) -> None:
    """Collect what is written to a terminal, until nobody has it open any more."""
    with contextlib.suppress(OSError):  # Linux says so that the other end is closed
        while part := os.read(terminal, 4096):
            parts.append(part)
    os.close(terminal)
