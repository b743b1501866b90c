"""The rows of the logs: their number grows with the logarithm of the steps of a run."""

import math

import pytest
import torch

from redwood.core.errors import RedwoodError
from redwood.engine.run import Run
from redwood.methods.training.callbacks import LOG_EVERY, LOGGED_DENSELY, TrainingLog, log_interval


def logged(first_step, n_steps, monkeypatch):
    """The steps of a run at which a phase of `n_steps` steps logs its loss."""
    steps, run = [], Run(quiet=True)
    monkeypatch.setattr(Run, "log", lambda self, values, step: steps.append(step))
    run.global_step = first_step
    log = TrainingLog(run)
    for step in range(LOG_EVERY, n_steps + 1, LOG_EVERY):
        log.note(step, torch.tensor(0.5), may_be_last=False)
    return steps


def test_short_runs_log_at_even_steps():
    assert {log_interval(step, LOG_EVERY) for step in range(LOG_EVERY * LOGGED_DENSELY)} == {LOG_EVERY}


def test_rows_of_a_long_run_are_few(monkeypatch):
    steps = logged(0, 1_000_000, monkeypatch)
    assert steps[:LOGGED_DENSELY] == list(range(LOG_EVERY, LOG_EVERY * LOGGED_DENSELY + 1, LOG_EVERY))
    assert len(steps) < 4 * LOGGED_DENSELY
    twice = logged(0, 2_000_000, monkeypatch)
    assert twice[: len(steps)] == steps and len(steps) < len(twice) < 5 * LOGGED_DENSELY


def test_later_phases_go_on_with_the_interval_of_the_run(monkeypatch):
    assert len(logged(900_000, 16_000, monkeypatch)) == 16_000 // log_interval(900_000, LOG_EVERY)


def test_a_loss_that_is_no_number_is_told_where_rows_are_rare():
    run = Run(quiet=True)
    run.global_step = 900_000
    log = TrainingLog(run)
    with pytest.raises(RedwoodError, match="diverged"):
        log.note(LOG_EVERY, torch.tensor(math.nan), may_be_last=False)
