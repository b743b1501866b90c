"""What the strategy asks a method of redwood, and hands to it."""

import torch

from redwood.buffers import AsyncRehearsalStrategy
from redwood.engine.run import Run
from redwood.methods.replay import async_strategy
from redwood.methods.replay.async_rehearsal import AsyncRehearsal
from redwood.methods.replay.async_strategy import MethodStrategy
from redwood.methods.replay.der import DER
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings.batch import Batch
from tests.methods.helpers import batch_of, configured, step_of
from tests.small_runs import small_setting

UNIDENTIFIED = Batch(torch.zeros(2, 3), torch.tensor([0, 1]), None)


def strategy_of(method, key="class_incremental"):
    strategy = configured(method, key).strategy()
    assert isinstance(strategy, MethodStrategy)
    return strategy


def test_methods_that_draw_ahead_have_it_and_others_do_not():
    assert not isinstance(configured(Rehearsal()).strategy(), AsyncRehearsalStrategy)
    strategy_of(Rehearsal(asynchronous=True))


def test_the_buffer_goes_on_from_phase_to_phase():
    method = configured(AsyncRehearsal())
    first, second = method.strategy(), method.strategy()
    assert first is not second
    assert first.memory is second.memory is method.replay.memory


def test_leaves_that_are_there_are_stored():
    strategy = strategy_of(AsyncRehearsal())
    batch = batch_of(0, 4)
    assert strategy.samples_of(batch).keys() == strategy.samples_of(step_of(batch)).keys() == {"x", "y", "task_id"}
    assert strategy.samples_of(UNIDENTIFIED).keys() == {"x", "y"}
    logits = torch.ones(2, 10)
    rows = strategy.rows_of(UNIDENTIFIED.leaves(), {"logits": logits})
    assert rows.keys() == {"x", "y", "logits"}
    assert rows["logits"] is logits


def test_what_is_trained_on_is_left_to_the_method():
    step = step_of(batch := batch_of(0, 4))
    assert strategy_of(AsyncRehearsal()).merge(step, rows := {"x": batch.x}) is step
    assert step.drawn_ahead is rows
    assert step.batch is batch


def test_only_methods_that_want_later_passes_are_offered_them():
    for method, expected in ((AsyncRehearsal(), False), (DER(asynchronous=True), True)):
        assert strategy_of(method).is_offered(step_of(batch_of(0, 4), first_pass=False)) is expected


def test_rows_have_the_size_of_all_draws():
    assert strategy_of(AsyncRehearsal(replay_ratio=0.5)).memory.replay == 8
    assert strategy_of(AsyncRehearsal(replay_ratio=0.01)).memory.replay == 1


def test_costs_are_logged_as_often_as_the_loss(monkeypatch):
    monkeypatch.setattr(async_strategy, "LOG_EVERY", 3)
    logged = []
    monkeypatch.setattr(Run, "log", lambda self, metrics, step=None: logged.append((metrics, step)))
    small_setting("class_incremental").apply(AsyncRehearsal(), quiet=True, accelerator="cpu")
    steps = [step for metrics, step in logged if "rehearsal/wait_ms" in metrics]
    assert steps == [first + step for first in (0, 8, 16) for step in (3, 6)], "of the run, not of each of three phases"
