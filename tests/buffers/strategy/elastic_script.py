"""What a user runs under torchrun: a plain Lightning Trainer that goes on from the last checkpoint.

Run: torchrun ... elastic_script.py FOLDER STEPS [TIER]. Each worker notes what happens, and when, in a file of its own.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

BEGUN = time.time()

import torch  # noqa: E402
from pytorch_lightning.callbacks import ModelCheckpoint  # noqa: E402

from redwood.buffers.shared.journal import JournalSegment  # noqa: E402
from tests.buffers.strategy.plain_modules import Resumable, rank, strategy_of, trainer_of  # noqa: E402
from tests.buffers.strategy.save_callbacks import Momentum  # noqa: E402

IMPORTED = time.time()

# The buffer is full after six steps; with `ring` each later one overwrites four rows, which the journal has to note.
BUFFER_SIZE, POLICY, REPLAY, SAVE_EVERY, STEP_S = 24, "ring", 3, 5, 0.05


def batches(steps: int) -> list[list[int]]:
    """Numbers of the samples in the batches of this worker."""
    first = 10_000 * (rank() or int(os.environ.get("RANK", "0")))  # the process group comes later
    return [list(range(first + 4 * number, first + 4 * number + 4)) for number in range(steps)]


class Noted(Momentum):
    """Notes its steps, each of which takes a while."""

    def __init__(self, note: Any, step_s: float = STEP_S) -> None:
        super().__init__()
        self._note, self._step_s = note, step_s

    def on_train_start(self) -> None:
        self._note("start", step=self.global_step)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self._note("step", step=self.global_step, ids=batch["id"].tolist())
        time.sleep(self._step_s)
        return super().training_step(batch, batch_idx)


class Notes:
    """The file of a worker: one line of JSON for each event."""

    def __init__(self, folder: Path) -> None:
        life = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self._file = (folder / f"life-{life}-rank-{os.environ['RANK']}.jsonl").open("a")

    def __call__(self, event: str, **content: Any) -> None:
        self._file.write(json.dumps({"event": event, "time": time.time(), **content}) + "\n")
        self._file.flush()


def train(folder: Path, steps: int, path: Path | None, note: Any, step_s: float = STEP_S, **options: Any) -> Noted:
    """Train so many steps in all, from a checkpoint if there is one."""
    strategy = strategy_of(buffer_size=BUFFER_SIZE, policy=POLICY, replay=REPLAY, **options)
    saving = ModelCheckpoint(folder / "checkpoints", "{step}", every_n_train_steps=SAVE_EVERY, save_top_k=-1)
    module = Noted(note, step_s)
    trainer = trainer_of(
        strategy,
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"])),
        max_steps=steps,
        callbacks=[saving],
        enable_checkpointing=True,
    )
    trainer.fit(module, Resumable(batches(1000)), ckpt_path=path)
    return module


def note_undone(note: Notes) -> None:
    """Note each segment of the journal that is undone, and its records."""
    newest_first = JournalSegment.newest_first

    def noted(self: JournalSegment) -> Any:
        note("undone", records=self.n_records)
        return newest_first(self)

    JournalSegment.newest_first = noted  # type: ignore[method-assign]


def main() -> None:
    folder, steps, tier = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    note = Notes(folder)
    note_undone(note)
    path = strategy_of().last_checkpoint(folder / "checkpoints")
    note("begun", pid=os.getpid(), at=BEGUN, imported=IMPORTED, path=None if path is None else str(path))
    module = train(folder, steps, path, note, tier=tier)
    torch.save(module.weights, folder / f"weights-{os.environ['RANK']}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
