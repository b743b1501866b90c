import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from redwood.core.calls import from_command_line
from redwood.engine.tuning import Trial
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.launchers.jobs import Failure, Job
from redwood.experiments.launchers.monitor import make_monitor
from redwood.settings.scores.cost import Cost
from redwood.settings.scores.results import Results

JOBS = [Job(Pair("continual", f"some/[file].py:{name}"), (), 3, Path("nowhere")) for name in ("One", "Two")]
DONE = Results(
    setting="s", method="m", dataset="d", seed=0, num_phases=1, accuracy_matrix=[[0.5]], cost=Cost(1.25), versions={}
)
FAILED = Failure("It does [not]\nwant to.", unforeseen=False)


def said(here=False, quiet=False, terminal=False):
    """What it says of two runs, the second and third of three."""
    console = Console(file=io.StringIO(), width=70, force_terminal=terminal, color_system=None)
    with make_monitor(console, 3, 1, here, quiet) as monitor:
        for job in JOBS:
            monitor.started(job)
        for job, end in zip(JOBS, (DONE, FAILED), strict=True):
            monitor.ended(job, end)
    assert (monitor.done, monitor.failed) == (3, 1)
    return console.file.getvalue()


@pytest.mark.parametrize("here", [True, False])
def test_a_trial_that_ended_early(here):
    job = replace(JOBS[0], trial=Trial(3), name="trial 7")
    console = Console(file=io.StringIO(), width=70, color_system=None)
    with make_monitor(console, 3, 1, here, quiet=False) as monitor:
        monitor.ended(job, replace(DONE, validation_matrix=[[0.5], [0.5, 0.5]]))
        monitor.ended(job, replace(DONE, validation_matrix=[[0.5], [0.5, 0.5], [0.5] * 3]))
    early, whole = console.file.getvalue().splitlines()
    assert early.endswith("1.2 s; ended early after phase 2") and whole.endswith("1.2 s")


def test_a_bar_in_a_notebook(monkeypatch):
    told = []
    bar = "redwood.engine.notebook_bar.NotebookBar"
    monkeypatch.setattr(f"{bar}.show", lambda self, *what, **_: told.append(what))
    monkeypatch.setattr(f"{bar}.clear", lambda self: told.append("cleared"))
    console = Console(file=io.StringIO(), width=70, force_jupyter=True)
    monkeypatch.setattr(console, "print", lambda text, **_: told.append(str(text)))
    with make_monitor(console, 3, 1, here=True, quiet=False) as monitor:
        monitor.started(JOBS[0])
        monitor.ended(JOBS[0], DONE)
        monitor.ended(JOBS[1], FAILED)
        monitor.ended(JOBS[1], replace(FAILED, traceback="Traceback ..."))
    assert told == [
        (1, 3, "1 of 3 runs; continual / One, seed 3"),
        (2, 3, "2 of 3 runs; continual / One, seed 3: average accuracy 50.0 %, 1.2 s"),
        "continual / Two, seed 3 failed: It does [not] want to.",
        (3, 3, "3 of 3 runs, 1 failed; continual / Two, seed 3: failed"),
        (4, 3, "4 of 3 runs, 2 failed; continual / Two, seed 3: failed"),  # its traceback has told it already
        "cleared",
    ]


@pytest.mark.parametrize("here", [True, False])
def test_quiet(here):
    assert said(here=here, quiet=True) == ""


def test_headings_over_what_runs_print():
    with from_command_line("redwood"):
        assert said(here=True) == "continual / One, seed 3\ncontinual / Two, seed 3\n"
    assert said(here=True).splitlines()[2:] == ["continual / Two, seed 3 failed: It does [not] want to."]


def test_a_line_a_run_in_a_log_file():
    assert said().splitlines() == [
        "started continual / One, seed 3",
        "started continual / Two, seed 3",
        "[2/3] continual / One, seed 3: average accuracy 50.0 %, 1.2 s",
        "[3/3] continual / Two, seed 3 failed: It does [not] want to.",
    ]


def test_on_a_terminal_failures_stay_and_the_rest_goes():
    text = said(terminal=True)
    assert "continual / Two, seed 3 failed: It does [not] want to." in text
    assert "3 done, 1 failed, 0 running" in text
    assert "continual / One, seed 3:" not in text
