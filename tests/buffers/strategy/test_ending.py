"""SIGTERM ends all workers after the same step, whichever of them gets it, and no step waits for news of it."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from redwood.core.errors import WorkerLostError
from tests.buffers.strategy.collective_log import logged_collectives
from tests.buffers.strategy.plain_modules import Stranger, loader_of, rank, strategy_of, trainer_of
from tests.buffers.strategy.sharded_modules import Sharded, model_parallel
from tests.workers import TwoWorkers

STEP = 2


class Ended(Stranger):
    """One worker gets SIGTERM in some hook, after `STEP` steps."""

    def __init__(self, victim: int, hook: str) -> None:
        super().__init__()
        self._victim, self._hook = victim, hook

    def _in(self, hook: str) -> None:
        if (hook, self.global_step, rank()) == (self._hook, STEP, self._victim):
            os.kill(os.getpid(), signal.SIGTERM)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self._in("training_step")
        return super().training_step(batch, batch_idx)

    def on_train_batch_end(self, *args: Any) -> None:
        self._in("on_train_batch_end")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass


class EndedShards(Ended, Sharded):
    """The same where weights are sharded."""

    def __init__(self, victim: int, hook: str) -> None:
        Sharded.__init__(self)
        self._victim, self._hook = victim, hook


def ended(victim: int, hook: str, n: int, options: dict[str, Any], folder: Path) -> tuple[int, list[str]]:
    """Steps until the end, and the checkpoints that were saved because of it."""
    module, saving = Ended(victim, hook), ModelCheckpoint(folder, save_on_exception=True, save_last=False)
    trainer = trainer_of(strategy_of(), callbacks=[saving], enable_checkpointing=True, **options)
    loaders = loader_of(range(100 * rank(), 100 * rank() + n)), loader_of(range(900, 908))
    with pytest.raises(SIGTERMException):
        trainer.fit(module, *loaders)
    return trainer.global_step, sorted(path.name for path in folder.glob("*.ckpt"))


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize(("hook", "steps"), [("training_step", STEP + 2), ("on_train_batch_end", STEP + 1)])
def test_all_workers_end_after_the_same_step(
    two_workers: TwoWorkers, tmp_path: Path, victim: int, hook: str, steps: int
) -> None:
    """The exchange of a step tells of a signal that came before it; the checkpoint needs all workers."""
    found = two_workers.run(ended, victim, hook, 40, {"limit_val_batches": 0}, tmp_path)
    assert [n for n, _ in found] == [steps, steps]
    assert all(saved for _, saved in found)


def test_all_workers_end_before_a_validation(two_workers: TwoWorkers, tmp_path: Path) -> None:
    found = two_workers.run(ended, 1, "on_train_batch_end", 40, {"val_check_interval": STEP + 1}, tmp_path)
    assert [n for n, _ in found] == 2 * [STEP + 1]


def ended_alone(hook: str, batches: int, options: dict[str, Any]) -> list[bool]:
    """Whether the one worker that gets the signal ends by it, where no step is left to tell the other one."""
    module = Ended(1, hook)
    loaders = loader_of(range(100 * rank(), 100 * rank() + 4 * batches)), loader_of(range(900, 908))
    try:
        trainer_of(strategy_of(), **options).fit(module, *loaders)
    except SIGTERMException:
        return [True]
    except WorkerLostError:  # the other one was still validating
        return [False]
    return [False]


def ended_in_one_replica() -> int:
    """Workers of one replica exchange no counts."""
    strategy = model_parallel(data_parallel_size=1, tensor_parallel_size=2)
    trainer = trainer_of(strategy, limit_val_batches=0)
    with pytest.raises(SIGTERMException):
        trainer.fit(EndedShards(1, "on_train_batch_end"), loader_of(range(40)))
    return trainer.global_step


def test_workers_of_one_replica_end_after_the_same_step(two_workers: TwoWorkers) -> None:
    assert two_workers.run(ended_in_one_replica) == [STEP, STEP]


@pytest.mark.parametrize("options", [{"limit_val_batches": 0}, {"num_sanity_val_steps": 0}])
def test_a_signal_in_the_last_step_is_not_lost(two_workers: TwoWorkers, options: dict[str, Any]) -> None:
    assert two_workers.run(ended_alone, "on_train_batch_end", STEP, options) == [[False], [True]]


def collectives() -> set[tuple[str, str]]:
    """The collectives in the group of the gradients, in between the steps."""

    class Watched(Stranger):
        def on_train_batch_end(self, *args: Any) -> None:
            if self.global_step == 1:
                self.first = len(log.of_group()[dist.group.WORLD.group_name])

        def on_train_end(self) -> None:
            self.entries = log.of_group()[dist.group.WORLD.group_name][self.first :]

    with logged_collectives() as log:
        module = Watched()
        trainer_of(strategy_of()).fit(module, loader_of(range(40)))
    return set(module.entries)


def test_no_step_waits_for_a_message_about_signals(two_workers: TwoWorkers) -> None:
    assert two_workers.run(collectives) == [set(), set()]
