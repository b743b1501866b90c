"""A save within an epoch needs a loader that has a state; with torchdata's, each worker goes on at its own place."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader, DistributedSampler
from torchdata.stateful_dataloader import StatefulDataLoader

from tests.buffers.strategy.plain_modules import Numbers, batch_of, rank, strategy_of, trainer_of
from tests.buffers.strategy.save_callbacks import EPOCHS, AtStart, Momentum, SaveAt, SavedRun, goes_on, slots
from tests.workers import TwoWorkers


def loader(lengths: list[int], kind: type = StatefulDataLoader, num_workers: int = 0) -> Any:
    """A loader whose order follows from the epoch; workers have orders of their own."""
    numbers = Numbers(range(100 * rank(), 100 * rank() + lengths[rank()]))
    order: Any = DistributedSampler(numbers, 1, 0, seed=rank())
    return kind(numbers, 4, sampler=order, collate_fn=batch_of, num_workers=num_workers)


def saved(path: Path, step: int, *args: Any) -> SavedRun:
    module, strategy, callback = Momentum(), strategy_of(), SaveAt({step: path})
    trainer_of(strategy, max_epochs=EPOCHS, callbacks=[callback]).fit(module, loader(*args))
    return SavedRun(module.trained, callback.stored, slots(strategy), module.weights)


def resumed(path: Path, *args: Any) -> SavedRun:
    module, strategy, callback = Momentum(seed=7), strategy_of(), AtStart()
    trainer = trainer_of(strategy, max_epochs=EPOCHS, callbacks=[callback])
    trainer.fit(module, loader(*args), ckpt_path=path)
    return SavedRun(module.trained, callback.stored, slots(strategy), module.weights)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_one_worker_goes_on(tmp_path: Path, num_workers: int) -> None:
    path = tmp_path / "a.ckpt"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="A checkpoint within an epoch")
        whole = saved(path, 7, [18], StatefulDataLoader, num_workers)
    assert goes_on(whole, resumed(path, [18], StatefulDataLoader, num_workers), 7)


@pytest.mark.parametrize(("lengths", "step"), [([18, 19], 7), ([9, 18], 7)])
def test_two_workers_go_on(two_workers: TwoWorkers, tmp_path: Path, lengths: list[int], step: int) -> None:
    path = tmp_path / "a.ckpt"
    whole = two_workers.run(saved, path, step, lengths)
    rest = two_workers.run(resumed, path, lengths)
    assert all(goes_on(*runs, step) for runs in zip(whole, rest, strict=True))


WARNING = "A checkpoint within an epoch does not hold the place of this train loader"


@pytest.mark.parametrize(("step", "n"), [(7, 1), (5, 0)])
def test_a_loader_without_a_state_is_told_of(tmp_path: Path, step: int, n: int) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        whole = saved(tmp_path / "a.ckpt", step, [18], DataLoader)
    assert [str(warning.message).startswith(WARNING) for warning in caught].count(True) == n
    rest = resumed(tmp_path / "a.ckpt", [18], DataLoader)
    assert goes_on(whole, rest, step) == (n == 0)


def warned_while_one_repeats(path: Path) -> int:
    """Save in a step for which the first worker has no batch of its own."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        saved(path, 4, [9, 18])
    return [str(warning.message).startswith(WARNING) for warning in caught].count(True)


def test_a_loader_that_is_through_is_told_of(two_workers: TwoWorkers, tmp_path: Path) -> None:
    assert two_workers.run(warned_while_one_repeats, tmp_path / "a.ckpt") == [1, 0]
