"""Runs of several workers of which one is lost, and what becomes of the others and of the checkpoints."""

import random
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from tests.buffers.strategy.plain_modules import N_CLASSES, Resumable, rank, strategy_of, trainer_of
from tests.buffers.strategy.save_callbacks import Momentum
from tests.process_harness import Doomed, Fate
from tests.workers import COLLECTIVE_S, GlooWorkers

WORLD, N_BATCHES, EPOCHS, SAVE_EVERY = 4, 6, 4, 3
STEPS = N_BATCHES * EPOCHS
TIMEOUT_S = 30
LONGEST_DELAY_S = 0.02

Tell = Callable[[Any], None]


class Delayed(Momentum):
    """Takes a while for each step, on each worker and in each step another one.

    Its batch normalisation is synchronised in each forward pass.
    """

    def __init__(self, seed: int = 0, tell: Tell | None = None) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, N_CLASSES))
        self._random, self._tell = random.Random(f"{seed} {rank()}"), tell

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self._tell is not None:
            self._tell(self.global_step)
        time.sleep(self._random.uniform(0, LONGEST_DELAY_S))
        return super().training_step(batch, batch_idx)


class Ending(NamedTuple):
    """The step at the end of a run, what its last steps were trained on, and its weights."""

    step: int
    trained: list[list[int]]
    weights: list[Tensor]


def batches(n: int = N_BATCHES) -> list[list[int]]:
    """Numbers of the samples in the batches of this worker."""
    first = 1000 * rank()
    return [list(range(first + 4 * number, first + 4 * number + 4)) for number in range(n)]


def fitted(
    module: Momentum, folder: Path, path: Path | None = None, loader: Any = None, timeout_s: float = TIMEOUT_S
) -> Ending:
    """Train to the end, or on from a checkpoint, and save every few steps."""
    saving = ModelCheckpoint(folder, "{step}", every_n_train_steps=SAVE_EVERY)
    strategy = strategy_of(timeout=timedelta(seconds=timeout_s))
    trainer = trainer_of(strategy, max_epochs=EPOCHS, callbacks=[saving], enable_checkpointing=True)
    trainer.fit(module, Resumable(batches()) if loader is None else loader, ckpt_path=path)
    return Ending(trainer.global_step, module.trained, module.weights)


def train(rank: int, world: int, tell: Tell, folder: Path, seed: int) -> None:
    """What each of the processes does of which one is killed."""
    fitted(Delayed(seed, tell), folder)


def go_on(folder: Path, path: Path | None, seed: int = 0) -> Ending:
    """The same in processes that nobody kills."""
    return fitted(Delayed(seed), folder, path, timeout_s=COLLECTIVE_S)


class Outcome(NamedTuple):
    """What came of a kill.

    Attributes:
        worker: The one that was killed.
        step: The step that all of them had begun by then.
        delay_ms: Time from there to the kill.
        fates: How the others ended.
        saved: The step of the newest checkpoint.
        resumed: What became of the run that went on from it, on each worker.
    """

    worker: int
    step: int
    delay_ms: float
    fates: dict[int, Fate]
    saved: int
    resumed: list[Ending]


def kill_and_resume(workers: GlooWorkers, folder: Path, seed: int, world: int = WORLD) -> Outcome:
    """Kill one of `WORLD` processes at a random moment after the first checkpoint, and go on with `world` workers."""
    generator = random.Random(seed)
    worker, step = generator.randrange(WORLD), generator.randrange(SAVE_EVERY + 2, STEPS - 2)
    delay_s = generator.uniform(0, 2 * LONGEST_DELAY_S)
    with Doomed(WORLD, train, folder, seed, collective_s=TIMEOUT_S) as processes:
        while processes.hear()[0] < step:
            pass
        time.sleep(delay_s)
        processes.kill(worker)
        fates = processes.fates()
    path = newest(folder)
    resumed = workers.run(world, go_on, folder, path, seed)
    return Outcome(worker, step, 1e3 * delay_s, fates, step_of(path), resumed)


def newest(folder: Path) -> Path:
    """The checkpoint of the latest step."""
    return max(folder.glob("*.ckpt"), key=step_of)


def step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step="))


def goes_on(whole: Ending, rest: Ending, step: int) -> bool:
    """Whether a run that was resumed at some step did what the whole one did from there on.

    In the first step of a run, DDP adds up the gradients of four workers in another order than later.
    """
    same_weights = all(map(torch.allclose, whole.weights, rest.weights))
    return (rest.step, rest.trained) == (whole.step, whole.trained[step:]) and same_weights


def says_that_a_worker_is_lost(fate: Fate) -> bool:
    """Whether a process ended with one sentence on it."""
    text = fate.message or ""
    one_sentence = text.endswith(".") and "\n" not in text and text.count(". ") == 0
    return (fate.status, fate.error, one_sentence) == (1, "WorkerLostError", True)
