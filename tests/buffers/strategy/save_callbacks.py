"""Runs that are saved in the middle and go on from there."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from tests.buffers.strategy.plain_modules import Resumable, Stranger, rank, strategy_of, trainer_of

EPOCHS = 3


class SavedRun(NamedTuple):
    """What a run was trained on, what it stored when it was saved or loaded and in the end, and its weights."""

    trained: list[list[int]]
    stored_then: list[int]
    stored: list[int]
    weights: list[Tensor]


class Momentum(Stranger):
    """Has an optimizer with a state."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing to note."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class SaveAt(Callback):
    """Saves a checkpoint after some steps, at the hook of some name."""

    def __init__(self, paths: dict[int, Path], hook: str = "on_train_batch_end") -> None:
        self._paths = dict(paths)
        self.stored: list[int] = []
        setattr(self, hook, self._save)

    def _save(self, trainer: Any, *args: Any) -> None:
        path = self._paths.pop(trainer.global_step, None)
        if path is not None and not trainer.sanity_checking:
            trainer.save_checkpoint(path)
            self.stored = slots(trainer.strategy)


class SaveAsCallback(SaveAt, Checkpoint):
    """The same as one of the Trainer's checkpoint callbacks: training goes on meanwhile."""


class AtStart(Callback):
    """Notes what is stored when training begins."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.stored = slots(trainer.strategy)


def slots(strategy: Any) -> list[int]:
    """The number of the sample in each slot."""
    buffer = strategy.memory.buffer
    return buffer.all()["id"].tolist() if len(buffer) else []  # type: ignore[no-any-return]


def batches_of(sizes: list[list[int]], worker: int | None = None) -> list[list[int]]:
    """The numbers of the samples in a worker's batches of these sizes, given for each worker; default: this one."""
    number = rank() if worker is None else worker
    mine, start = [], 100 * number
    for size in sizes[number]:
        mine.append(list(range(start, start + size)))
        start += size
    return mine


def saved(paths: dict[int, Path], sizes: list[list[int]], hook: str, options: dict[str, Any]) -> SavedRun:
    """A run that is saved on its way, and goes on."""
    module, strategy, callback = Momentum(), strategy_of(**options), SaveAt(paths, hook)
    training: dict[str, Any] = {"val_check_interval": 2} if "validation" in hook else {}
    loaders = (Resumable(batches_of(sizes)), Resumable([[900, 901]]))
    trainer_of(strategy, max_epochs=EPOCHS, callbacks=[callback], **training).fit(module, *loaders)
    assert len(module.trained) == EPOCHS * max(map(len, sizes))
    return SavedRun(module.trained, callback.stored, slots(strategy), module.weights)


def resumed(path: Any, sizes: list[list[int]], options: dict[str, Any], training: dict[str, Any]) -> SavedRun:
    """The same run in a process that knows nothing but the checkpoint."""
    module, strategy, callback = Momentum(seed=7), strategy_of(**options), AtStart()
    trainer = trainer_of(strategy, max_epochs=EPOCHS, callbacks=[callback], **training)
    trainer.fit(module, Resumable(batches_of(sizes)), Resumable([[900, 901]]), ckpt_path=path)
    return SavedRun(module.trained, callback.stored, slots(strategy), module.weights)


def goes_on(whole: SavedRun, rest: SavedRun, steps: int) -> bool:
    """Whether a resumed run does bit for bit what the whole one did after some steps."""
    same_weights = all(map(torch.equal, whole.weights, rest.weights))
    then, trained = whole.stored_then == rest.stored_then, whole.trained[steps:] == rest.trained
    return then and trained and whole.stored == rest.stored and same_weights


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def is_whole(path: Path) -> bool:
    """Whether the buffer of a checkpoint is there, and no other one, nor a part of one."""
    folder = path.resolve().with_name(f"{path.resolve().name}.rehearsal")
    entry = torch.load(path, weights_only=False)["async_rehearsal"]
    return names(folder) == [entry["folder"]] and (folder / entry["folder"] / "index.json").is_file()
