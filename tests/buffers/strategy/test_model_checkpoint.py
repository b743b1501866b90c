"""The files and folders that Lightning's own callback leaves behind."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from tests.buffers.strategy.plain_modules import Stranger, loader_of, rank, strategy_of, trainer_of
from tests.buffers.strategy.save_callbacks import is_whole, names
from tests.workers import TwoWorkers


def kept_by(folder: Path, options: dict[str, Any]) -> tuple[str, str]:
    """Train with a ModelCheckpoint in the folder; the best and the last path that it tells."""
    callback = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=2, **options)
    start = 100 * rank()
    trainer = trainer_of(strategy_of(), max_epochs=2, callbacks=[callback], enable_checkpointing=True)
    trainer.fit(Logging(), loader_of(range(start, start + 24)))
    return callback.best_model_path, callback.last_model_path


class Logging(Stranger):
    """Has a metric that grows from step to step."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.log("seen", float(self.global_step))
        return super().training_step(batch, batch_idx)


class TestModelCheckpoint:
    def test_removed_checkpoints_take_their_folders_along(self, tmp_path: Path) -> None:
        kept_by(tmp_path, {"save_top_k": 2, "monitor": "seen", "mode": "max"})
        kept = ["step=10.ckpt", "step=12.ckpt"]
        assert names(tmp_path) == sorted(kept + [f"{name}.rehearsal" for name in kept])
        assert all(is_whole(tmp_path / name) for name in kept)

    def test_removed_checkpoints_of_two_workers(self, two_workers: TwoWorkers, tmp_path: Path) -> None:
        two_workers.run(kept_by, tmp_path, {"save_top_k": 1})
        assert names(tmp_path) == ["step=12.ckpt", "step=12.ckpt.rehearsal"]
        assert is_whole(tmp_path / "step=12.ckpt")

    @pytest.mark.parametrize("save_last", [True, "link"])
    def test_last_can_be_resumed(self, tmp_path: Path, save_last: Any) -> None:
        _, last = kept_by(tmp_path, {"save_top_k": -1, "save_last": save_last})
        assert Path(last).is_symlink() == (save_last == "link")
        assert is_whole(Path(last))
        # Lightning's own name for it, among the folders of buffers.
        callback = ModelCheckpoint(tmp_path, save_last=save_last)
        module, strategy = Logging(), strategy_of()
        trainer = trainer_of(strategy, max_epochs=3, callbacks=[callback], enable_checkpointing=True)
        trainer.fit(module, loader_of(range(24)), ckpt_path="last")
        assert len(module.trained) == 6
        assert len(module.trained[0]) == 4 + 3

    def test_link_of_two_workers(self, two_workers: TwoWorkers, tmp_path: Path) -> None:
        ((_, last), _) = two_workers.run(kept_by, tmp_path, {"save_top_k": 1, "save_last": "link"})
        assert names(tmp_path) == ["last.ckpt", "step=12.ckpt", "step=12.ckpt.rehearsal"]
        assert is_whole(Path(last))

    def test_on_exception_saves_the_buffer(self, tmp_path: Path) -> None:
        class Failing(Stranger):
            def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
                if self.global_step == 3:
                    raise RuntimeError("out of luck")
                return super().training_step(batch, batch_idx)

        callback = ModelCheckpoint(tmp_path, save_on_exception=True)
        trainer = trainer_of(strategy_of(), callbacks=[callback], enable_checkpointing=True)
        with pytest.raises(RuntimeError, match="out of luck"):
            trainer.fit(Failing(), loader_of(range(24)))
        (path,) = tmp_path.glob("*.ckpt")
        assert is_whole(path)
