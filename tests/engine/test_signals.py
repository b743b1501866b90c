"""Signals that schedulers and users send: the run saves itself, ends with a documented exit code, and goes on later."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from redwood.cli import main
from redwood.core.workers import rank
from redwood.engine.figures import plots
from redwood.engine.signals import Stopped, postpone_signals, stop_signals
from redwood.engine.stop_vote import STEPS_BETWEEN_VOTES, StopVote, stop_if_requested
from redwood.methods.baselines import Finetune
from tests.cli.command import QUICK, content
from tests.cli.test_kill import comparable, logged
from tests.small_runs import run_here, small_setting

PAIR = ["--setting", "class_incremental", "--method", "finetune", *QUICK, "--quiet"]
CODES = {signal.SIGTERM: 143, signal.SIGUSR1: 143, signal.SIGHUP: 143, signal.SIGINT: 130}
WORDS = {130: "interrupted", 143: "terminated"}
SLURM = {
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_JOB_NAME": "mine",
    "SLURM_JOB_ID": "4711",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NNODES": "1",
}


@pytest.fixture(autouse=True)
def default_handlers():
    """A shell may have started the tests in the background, where interrupts are ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*PAIR, "--run_dir", str(folder)]) == 0
    return folder


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A job of SLURM, whose `scontrol` notes what it is asked for."""
    notes = tmp_path / "asked of scontrol"
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin" / "scontrol"
    stub.write_text(f'#!/bin/sh\necho "$@" >> "{notes}"\n')
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}{os.pathsep}{os.environ['PATH']}")
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    return notes


def send_once(monkeypatch, owner, name, number, after=3):
    """Have a function send a signal to its own process, the `after`th time that it is called."""
    function, calls = getattr(owner, name), []

    def sends(*args, **kwargs):
        calls.append(name)
        if len(calls) == after:
            os.kill(os.getpid(), number)
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, sends)


def assert_goes_on(folder: Path, whole: Path) -> None:
    assert main(["resume", str(folder)]) == 0
    assert comparable(folder) == comparable(whole)
    assert logged(folder) == logged(whole)
    assert set(content(folder)) == set(content(whole)), "nothing else is left"


@pytest.mark.parametrize("number", CODES)
@pytest.mark.few(1)
def test_training_is_saved_after_the_step_in_hand(number, whole, slurm, tmp_path, monkeypatch, capsys):
    """Lightning would have saved a file of its own, which the next phase would have trained on from, and requeued."""
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        send_once(patch, Finetune, "loss", number, after=30)
        assert main([*PAIR, "--run_dir", str(folder)]) == CODES[number]
    assert capsys.readouterr().err == f"{WORDS[CODES[number]]}; go on with python cli.py resume {folder}\n"
    assert (folder / "checkpoints" / "inside-phase-001.ckpt").exists(), "though there are fewer steps than between two"
    assert not list(tmp_path.rglob("hpc_ckpt*")) and not slurm.exists()
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
    assert_goes_on(folder, whole)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT])
@pytest.mark.parametrize(
    ("owner", "name"), [(Finetune, "predict"), (plots, "plot_accuracy_curve")], ids=["evaluation", "plotting"]
)
@pytest.mark.few(1)
def test_elsewhere_it_ends_at_once(owner, name, number, whole, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        send_once(patch, owner, name, number, after=1)
        assert main([*PAIR, "--run_dir", str(folder)]) == CODES[number]
    assert capsys.readouterr().err == f"{WORDS[CODES[number]]}; go on with python cli.py resume {folder}\n"
    assert not (folder / "results.json").exists() and not list(folder.rglob(".*"))
    assert_goes_on(folder, whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_before_anything_is_written_there_is_nothing_to_go_on_with(number, tmp_path, monkeypatch, capsys):
    send_once(monkeypatch, Finetune, "configure", number, after=1)
    assert main([*PAIR, "--run_dir", str(tmp_path / "run")]) == CODES[number]
    assert capsys.readouterr().err == f"{WORDS[CODES[number]]}\n"
    assert not (tmp_path / "run").exists()


def test_files_that_lightning_would_go_on_from_are_not_looked_at(whole, slurm, tmp_path, monkeypatch):
    """In the working directory, and in the folder of a run that an earlier version has left."""
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        send_once(patch, Finetune, "predict", signal.SIGTERM, after=1)
        assert main([*PAIR, "--run_dir", str(folder)]) == 143
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path, folder):
        (place / "hpc_ckpt_1.ckpt").write_bytes(b"of another phase")
    assert main(["resume", str(folder)]) == 0
    assert comparable(folder) == comparable(whole)
    assert run_here(small_setting("class_incremental"), Finetune()).accuracy_matrix


def test_a_second_interrupt_does_not_wait_and_other_signals_do_not_repeat():
    with pytest.raises(KeyboardInterrupt), stop_signals(interrupts=True), postpone_signals():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
    with pytest.raises(Stopped) as caught, stop_signals():
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # clean-up is not disturbed
    assert (caught.value.number, caught.value.code) == (signal.SIGUSR1, 143)


def test_an_exception_that_was_lost_is_raised_again():
    with stop_signals():
        with contextlib.suppress(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            stop_if_requested()
    stop_if_requested()


def test_handlers_of_the_user_and_ignored_signals_are_left_alone():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGHUP, hangup)
    assert heard == [signal.SIGTERM]


def stopped(folder, method, at):
    """The second worker gets a signal; what both end with, and after how many steps."""
    from redwood.methods import get_method

    steps = []

    class Signalled(get_method(method)):
        def loss(self, step):
            steps.append(1)
            if len(steps) == at and rank() == 1:
                os.kill(os.getpid(), signal.SIGUSR1)
            return super().loss(step)

    try:
        run_here(small_setting("class_incremental", workers=2, batch_size=4), Signalled(), run_dir=folder)
    except Stopped as stop:
        return stop.number, len(steps)


@pytest.mark.parametrize("method", ["finetune", "async_rehearsal"])
def test_workers_stop_after_the_same_step(method, two_workers, tmp_path):
    ends = two_workers.run(stopped, str(tmp_path / "run"), method, 4)
    assert ends == [(signal.SIGTERM, STEPS_BETWEEN_VOTES), (signal.SIGUSR1, STEPS_BETWEEN_VOTES)]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("*.ckpt")] == ["inside-phase-000.ckpt"]


def steps_of_a_phase(folder):
    return next(iter(small_setting("class_incremental", workers=2, batch_size=4).phases())).steps


def test_workers_stop_between_phases(two_workers, tmp_path):
    last = two_workers.run(steps_of_a_phase, "")[0]
    assert last % STEPS_BETWEEN_VOTES, "no vote after the last step"
    ends = two_workers.run(stopped, str(tmp_path / "run"), "finetune", last)
    assert ends == [(signal.SIGTERM, last), (signal.SIGUSR1, last)]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["boundary.pt"]


def test_steps_that_take_long_are_voted_on_each_time(monkeypatch):
    """A rollout of an agent stands for thousands of steps."""
    monkeypatch.setattr("redwood.engine.stop_vote.world_size", lambda: 2)
    monkeypatch.setattr("redwood.engine.stop_vote._any_worker_requested", lambda: True)
    assert StopVote(every=1).passed()
    vote = StopVote()
    assert [vote.passed() for _ in range(STEPS_BETWEEN_VOTES)] == [False] * (STEPS_BETWEEN_VOTES - 1) + [True]
