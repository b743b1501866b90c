"""The rows of the logs: their number grows with the logarithm of the steps of a run."""

import math

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from redwood.core.errors import RedwoodError
from redwood.engine.run import Run
from redwood.methods.training.callbacks import LOG_EVERY, LOGGED_DENSELY, TrainingLog, log_interval, usual_loss


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


@pytest.mark.parametrize(
    ("space", "first", "usable", "too_large"),
    [
        (Discrete(2), 0.7, 1e6, 1e7),
        (Discrete(2), 1e3, 1e9, 1e10),  # of samples that are not normalised
        (Box(0, np.array([1.0, 1e4]), dtype=np.float32), 0.7, 1e14, 1e15),  # most targets may be far from the largest
        (Box(np.array([-1e4, -1.0]), 1, dtype=np.float32), 0.7, 1e14, 1e15),
    ],
)
def test_a_loss_that_is_far_too_large_is_told(space, first, usable, too_large):
    log = TrainingLog(Run(quiet=True), usual_loss(space))
    for step, loss in enumerate((first, usable), start=1):
        log.note(step * LOG_EVERY, torch.tensor(loss), may_be_last=False)
    with pytest.raises(RedwoodError, match=r"^Training diverged: the loss is 1e\+\d+ after 150 steps; use a smaller"):
        log.note(3 * LOG_EVERY, torch.tensor(too_large), may_be_last=False)
