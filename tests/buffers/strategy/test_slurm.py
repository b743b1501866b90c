"""Under SLURM, a user's own Trainer is saved and sent to the queue again as Lightning does it, with the buffer."""

import os
import signal

import pytest

from tests.buffers.strategy.plain_modules import Stranger, loader_of, strategy_of, trainer_of
from tests.engine.test_signals import SLURM


class Preempted(Stranger):
    """Gets a signal between two steps."""

    def on_train_batch_end(self, *args):
        super().on_train_batch_end(*args)
        if self.trainer.global_step == 3:
            os.kill(os.getpid(), signal.SIGUSR1)


@pytest.mark.parametrize("stray", [False, True])
def test_a_preempted_fit_goes_on_with_its_buffer(stray, tmp_path, monkeypatch):
    notes, stub = tmp_path / "notes", tmp_path / "bin" / "scontrol"
    stub.parent.mkdir()
    stub.write_text(f'#!/bin/sh\necho "$@" >> "{notes}"\n')
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}{os.pathsep}{os.environ['PATH']}")
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "user"
    options = {"default_root_dir": str(folder), "max_epochs": 1}
    folder.mkdir()
    first = strategy_of()
    trainer_of(first, **options).fit(Preempted(), loader_of(range(40)))
    assert notes.read_text() == "requeue 4711\n"
    assert (folder / "hpc_ckpt_1.ckpt").exists()
    if stray:  # a save that was cut short: its name has no digits that Lightning would take for a version
        (folder / f"hpc_ckpt_1.ckpt.{next((folder / 'hpc_ckpt_1.ckpt.rehearsal').iterdir()).name}.pending").touch()
    second = strategy_of()
    trainer = trainer_of(second, **options)
    trainer.fit(Stranger(), loader_of(range(40)))
    assert trainer.global_step == 10
    assert second.memory.buffer.n_seen == first.memory.buffer.n_seen
