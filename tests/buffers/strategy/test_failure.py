"""T16: whatever ends a worker, the others end soon with an error, and the newest checkpoint is whole."""

import itertools
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from redwood.buffers.strategy import checkpoints
from tests.buffers.strategy.kill_runs import (
    SAVE_EVERY,
    STEPS,
    TIMEOUT_S,
    WORLD,
    Delayed,
    Ending,
    Tell,
    batches,
    fitted,
    go_on,
    goes_on,
    kill_and_resume,
    newest,
    says_that_a_worker_is_lost,
    step_of,
)
from tests.buffers.strategy.plain_modules import Resumable, rank, strategy_of, trainer_of
from tests.process_harness import LIMIT_S, Doomed
from tests.workers import GlooWorkers

SHORT_S = 8
# What a process takes to end once it knows, on a machine that does a lot else.
SLACK_S = 10


@pytest.fixture(scope="module")
def whole(gloo_workers: GlooWorkers, tmp_path_factory: pytest.TempPathFactory) -> list[Ending]:
    """The run that nobody interrupts."""
    return gloo_workers.run(WORLD, go_on, tmp_path_factory.mktemp("whole"), None)


def check_kill(workers: GlooWorkers, folder: Path, whole: list[Ending], seed: int, world: int) -> None:
    outcome = kill_and_resume(workers, folder, seed, world)
    assert len(outcome.fates) == WORLD - 1
    for fate in outcome.fates.values():
        assert says_that_a_worker_is_lost(fate), fate
        assert fate.seconds < TIMEOUT_S + SLACK_S
    # One checkpoint may have been on its way to the disk; the next one waits for it.
    assert outcome.step - 2 * SAVE_EVERY <= outcome.saved < STEPS
    assert [ending.step for ending in outcome.resumed] == world * [STEPS]
    if world == WORLD:
        assert all(goes_on(*endings, outcome.saved) for endings in zip(whole, outcome.resumed, strict=True))


@pytest.mark.parametrize(("seed", "world"), [(0, 4), (1, 2)])
@pytest.mark.few(1)
def test_a_worker_is_killed(
    gloo_workers: GlooWorkers, tmp_path: Path, whole: list[Ending], seed: int, world: int
) -> None:
    check_kill(gloo_workers, tmp_path, whole, seed, world)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_a_worker_is_killed_at_any_moment(
    gloo_workers: GlooWorkers, tmp_path: Path, whole: list[Ending], seed: int
) -> None:
    check_kill(gloo_workers, tmp_path, whole, seed, WORLD)


def hang_in_a_save(rank: int, world: int, tell: Tell, folder: Path, victim: int, timeout_s: float) -> None:
    """Train until the second checkpoint, in the middle of which the victim does not go on."""
    write, numbers = checkpoints.write_checkpoint, itertools.count(1)

    def hang(*args: Any) -> Any:
        if next(numbers) == 2:
            tell("writing")
            if rank == victim:
                time.sleep(2 * LIMIT_S)
        return write(*args)

    checkpoints.write_checkpoint = hang
    fitted(Delayed(), folder, timeout_s=timeout_s)


def check_the_first_checkpoint(workers: GlooWorkers, folder: Path) -> None:
    """The one before that of which a part is missing."""
    path = newest(folder)
    assert step_of(path) == SAVE_EVERY
    assert [ending.step for ending in workers.run(2, go_on, folder, path)] == 2 * [STEPS]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_is_killed_while_it_writes_a_checkpoint(
    gloo_workers: GlooWorkers, tmp_path: Path, victim: int
) -> None:
    with Doomed(2, hang_in_a_save, tmp_path, victim, TIMEOUT_S, collective_s=TIMEOUT_S) as processes:
        assert processes.hear() == 2 * ["writing"]
        processes.kill(victim)
        (fate,) = processes.fates().values()
    assert says_that_a_worker_is_lost(fate), fate
    assert fate.seconds < TIMEOUT_S
    check_the_first_checkpoint(gloo_workers, tmp_path)


def train_shortly(rank: int, world: int, tell: Tell, folder: Path) -> None:
    fitted(Delayed(0, tell), folder, timeout_s=SHORT_S)


def test_a_worker_is_stopped(tmp_path: Path) -> None:
    """Its connections stay open, so that only time tells."""
    with Doomed(3, train_shortly, tmp_path, collective_s=SHORT_S) as processes:
        while processes.hear()[0] < SAVE_EVERY + 1:
            pass
        processes.stop(1)
        fates = processes.fates()
    assert list(fates) == [0, 2]
    for fate in fates.values():
        assert says_that_a_worker_is_lost(fate), fate
        assert fate.seconds < 2 * SHORT_S, "nobody waits twice"


class Validated(Delayed):
    """Its validation takes far longer than the test waits, and needs no other worker."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1 and self._tell is not None:
            self._tell("validating")
        time.sleep(0.05)


def validate_for_long(rank: int, world: int, tell: Tell) -> None:
    trainer = trainer_of(strategy_of(timeout=timedelta(seconds=SHORT_S)), num_sanity_val_steps=0)
    module = Validated()
    module._tell = lambda content: tell(content) if content == "validating" else None
    trainer.fit(module, Resumable(batches()), Resumable(batches(3 * LIMIT_S * 20)))


def test_a_worker_is_killed_during_a_validation() -> None:
    """Nothing is exchanged then, and yet the others notice."""
    with Doomed(3, validate_for_long, collective_s=SHORT_S) as processes:
        assert processes.hear() == 3 * ["validating"]
        processes.kill(1)
        fates = processes.fates()
    assert list(fates) == [0, 2]
    for fate in fates.values():
        assert says_that_a_worker_is_lost(fate), fate


@pytest.mark.slow
def test_a_worker_is_stopped_while_it_writes_a_checkpoint(tmp_path: Path) -> None:
    with Doomed(2, hang_in_a_save, tmp_path, 1, SHORT_S, collective_s=SHORT_S) as processes:
        processes.hear()
        processes.stop(1)
        (fate,) = processes.fates().values()
    assert says_that_a_worker_is_lost(fate), fate
    assert fate.seconds < 2 * SHORT_S + SLACK_S


# Looks like something that is said of a lost worker.
MESSAGE = "the socket of the sensor timed out"


class Failing(Delayed):
    """Fails on one worker, after some steps."""

    def __init__(self, victim: int, kind: type[Exception]) -> None:
        super().__init__()
        self._victim, self._kind = victim, kind

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if rank() == self._victim and self.global_step == SAVE_EVERY + 1:
            raise self._kind(MESSAGE)
        return super().training_step(batch, batch_idx)


def fail(rank: int, world: int, tell: Tell, folder: Path, victim: int, kind: type[Exception]) -> None:
    try:
        fitted(Failing(victim, kind), folder)
    finally:
        tell(time.monotonic())


@pytest.mark.parametrize(("victim", "kind"), [(0, RuntimeError), (2, ZeroDivisionError)])
def test_a_worker_raises_an_error(tmp_path: Path, victim: int, kind: type[Exception]) -> None:
    with Doomed(3, fail, tmp_path, victim, kind, collective_s=TIMEOUT_S) as processes:
        ends, fates = processes.hear(), processes.fates()
    first = fates.pop(victim)
    assert (first.status, first.error, first.message) == (1, kind.__name__, MESSAGE)
    for fate in fates.values():
        assert says_that_a_worker_is_lost(fate), fate
    assert max(ends) - ends[victim] < TIMEOUT_S, "the others end at once"
