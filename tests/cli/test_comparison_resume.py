"""A comparison that was stopped, whichever way, goes on where it stopped."""

import json
import os
import pty
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from redwood.cli import main
from redwood.experiments.launchers.choice import LaunchOptions
from tests.cli.command import QUICK, assert_one_sentence, start
from tests.cli.test_comparison import table
from tests.cli.test_kill import PATIENCE_S, read_all, wait_for
from tests.small_runs import MEASURED

FRAGILE = """
import os
from redwood.methods.baselines import Finetune

class Fragile(Finetune):
    def on_task_start(self, task_id):
        print("task", task_id)
        if task_id == 1 and "BREAK_FRAGILE" in os.environ:
            raise ArithmeticError("broken")
        super().on_task_start(task_id)
"""


def comparable(folder):
    """The table but for what a clock or the operating system measured, and the results likewise."""
    rows = [{name: text for name, text in row.items() if not name.startswith(MEASURED)} for row in table(folder)]
    found = {}
    for path in folder.glob("*/results.json"):
        found[path.parent.name] = results = json.loads(path.read_text())
        for name in MEASURED:
            results["cost"].pop(name, None)
    return rows, found


class TestFailed:
    @pytest.fixture(scope="class")
    @classmethod
    def resumed(cls, tmp_path_factory):
        """Of two pairs one failed in its second task; then it was resumed, from another folder."""
        base = tmp_path_factory.mktemp("resumed")
        (base / "fragile.py").write_text(FRAGILE)
        arguments = ["--setting", "class_incremental", "--method", "random,fragile.py:Fragile", *QUICK, "--jobs", "1"]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(base)
            assert main([*arguments, "--run_dir", "whole"]) == 0
            patch.setenv("BREAK_FRAGILE", "1")
            assert main([*arguments, "--run_dir", "broken"]) == 1
            before = (base / "broken" / "class_incremental-random" / "results.json").stat().st_mtime_ns
            codes = [main(["resume", "broken", "--jobs", "1", "--trust"])]
            patch.delenv("BREAK_FRAGILE")
            (base / "elsewhere").mkdir()
            patch.chdir(base / "elsewhere")
            (base / "broken").rename(base / "moved")
            codes.append(main(["resume", str(base / "moved"), "--jobs", "1", "--trust"]))
        return base, codes, before

    @pytest.mark.slow
    def test_it_fails_again_as_long_as_there_is_a_reason(self, resumed):
        assert resumed[1] == [1, 0]

    def test_it_is_then_the_same_as_one_that_went_well(self, resumed):
        base, _, _ = resumed
        assert comparable(base / "moved") == comparable(base / "whole")

    def test_what_is_complete_is_left_alone(self, resumed):
        base, _, before = resumed
        assert (base / "moved" / "class_incremental-random" / "results.json").stat().st_mtime_ns == before

    def test_what_is_done_is_not_done_again(self, resumed, capsys, monkeypatch):
        """Of a run in the comparison, and of the whole when nothing is left."""
        base, _, _ = resumed
        run = base / "moved" / "class_incremental-Fragile"
        (run / "results.json").rename(run / "kept.json")
        monkeypatch.chdir(base)
        assert main(["resume", str(base / "moved"), "--jobs", "1", "--trust"]) == 0
        assert "task 1" not in capsys.readouterr().out, "its last state is that after all phases"
        assert (run / "results.json").exists()
        assert main(["resume", str(base / "moved"), "--trust"]) == 0
        out = capsys.readouterr().out
        assert "seed 0" not in out and "class_incremental" in out and out.endswith(f"written to {base}/moved\n")

    def test_options_that_change_no_result_may_be_given_again(self, resumed, capsys, monkeypatch):
        base, _, _ = resumed
        plan = (base / "moved" / "comparison.yaml").read_text()
        monkeypatch.chdir(base)
        assert main(["resume", str(base / "moved"), "--trust", "--quiet", "true"]) == 0
        assert (base / "moved" / "comparison.yaml").read_text() == plan
        assert main(["resume", str(base / "moved"), "--trust", "--workers", "2"]) == 2
        assert_one_sentence(capsys.readouterr().err)


def test_it_goes_on_with_its_number_of_jobs_unless_another_is_given(tmp_path, monkeypatch):
    at_once, make = [], LaunchOptions.make

    def recorded(how, *of):
        at_once.append(how.jobs)
        return make(how, *of)

    monkeypatch.setattr(LaunchOptions, "make", recorded)
    folder = str(tmp_path / "all")
    pairs = ["--setting", "class_incremental", "--method", "random,finetune", "--nb_tasks", "2", "--passes", "1"]
    assert main([*pairs, "--jobs", "1", "--quiet", "--accelerator", "cpu", "--run_dir", folder]) == 0
    assert main(["resume", folder]) == 0
    assert main(["resume", folder, "--jobs", "2"]) == 0
    assert main(["resume", folder]) == 0
    assert at_once == [1, 1, 2, 1]


LONG = ["--setting", "class_incremental", "--method", "random,finetune,rehearsal", "--nb_tasks", "2", "--passes", "30"]
LONG += ["--accelerator", "cpu", "--checkpoint_every", "10"]
CHECKPOINT = Path("class_incremental-finetune") / "checkpoints" / "inside-phase-001.ckpt"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same comparison, never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*LONG, "--run_dir", str(folder), "--quiet", "--jobs", "1"]) == 0
    return folder


def children_of(pid):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_the_end_of(processes):
    deadline = time.monotonic() + 20
    while any(map(is_alive, processes)):
        assert time.monotonic() < deadline, "a process goes on without its parent"
        time.sleep(0.05)


@pytest.mark.slow
def test_kill_9_of_the_parent(whole, tmp_path):
    """Its processes notice; nothing of what they have done is lost."""
    folder = tmp_path / "killed"
    process = start(*LONG, "--run_dir", str(folder), "--jobs", "2")
    wait_for(
        folder / "class_incremental-finetune" / "checkpoints" / "inside-phase-001.ckpt", lambda: process.poll() is None
    )
    children = children_of(process.pid)
    assert len(children) >= 2
    process.kill()
    process.communicate()
    wait_for_the_end_of(children)
    assert not (folder / "class_incremental-finetune" / "results.json").exists()
    assert main(["resume", str(folder)]) == 0
    assert comparable(folder) == comparable(whole)


@pytest.mark.slow
def test_ctrl_c_on_a_terminal(whole, tmp_path):
    """A live display of what is running; an interrupt ends all and says how to go on."""
    terminal, end = pty.openpty()
    folder = tmp_path / "run"
    process = start(*LONG, "--run_dir", str(folder), "--jobs", "2", stdout=end, stderr=end, stdin=end)
    os.close(end)
    parts = []
    reader = threading.Thread(target=read_all, args=(terminal, parts))
    reader.start()
    wait_for(
        folder / "class_incremental-finetune" / "checkpoints" / "inside-phase-001.ckpt", lambda: process.poll() is None
    )
    children = children_of(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    reader.join()
    wait_for_the_end_of(children)
    shown = b"".join(parts).decode()
    assert "━" in shown and "class_incremental / finetune, seed 0" in shown and "2 running" in shown
    assert shown.rstrip().splitlines()[-1].endswith(f"interrupted; go on with python cli.py resume {folder}")
    assert "Traceback" not in shown
    assert main(["resume", str(folder)]) == 0
    assert comparable(folder) == comparable(whole)
