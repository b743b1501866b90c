"""Checkpoints of all kinds, loaded before and during a fit."""

import os
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import LearningRateFinder

from redwood.buffers.distributed.worker_thread import Job
from redwood.buffers.strategy import checkpoints
from redwood.core.errors import WorkerLostError
from tests.buffers.strategy.plain_modules import Resumable, Stranger, loader_of, stored, strategy_of, trainer_of
from tests.buffers.strategy.save_callbacks import Momentum, batches_of, goes_on, is_whole, names, resumed, saved, slots

SIZES = [[4, 4, 4, 4, 2], [4, 4, 4, 4, 3]]
ENDS = "on_train_batch_end"


class TestOtherCheckpoints:
    def test_weights_only(self, tmp_path: Path) -> None:
        path, strategy, module = tmp_path / "a.ckpt", strategy_of(), Stranger()
        trainer = trainer_of(strategy)
        trainer.fit(module, loader_of(range(8)))
        trainer.save_checkpoint(path, weights_only=True)
        assert names(tmp_path) == ["a.ckpt"]
        other = Stranger(seed=3)
        other.load_state_dict(torch.load(path)["state_dict"])
        assert all(map(torch.equal, other.weights, module.weights))

    def test_weights_only_in_place_of_one_under_way(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ckpt"

        class Saving(Callback):
            def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
                trainer.save_checkpoint(path, weights_only=trainer.global_step == 5)

        trainer_of(strategy_of(), callbacks=[Saving()]).fit(Stranger(), loader_of(range(20)))
        assert "optimizer_states" not in torch.load(path, weights_only=False)

    def test_without_buffer_starts_with_an_empty_one(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ckpt"
        plain = trainer_of("auto")
        plain.fit(Stranger(), loader_of(range(8)))
        plain.save_checkpoint(path)
        module, strategy = Stranger(), strategy_of()
        with pytest.warns(UserWarning, match=r"holds no rehearsal buffer; it starts empty\.$"):
            trainer_of(strategy, max_epochs=2).fit(module, loader_of(range(8)), ckpt_path=path)
        assert module.replayed == [[], [*module.replayed[1]]]
        assert stored(strategy) == list(range(8))

    def test_buffer_is_no_burden_to_others(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ckpt"
        saved({3: path}, SIZES, ENDS, {})
        module = Momentum()
        trainer_of("auto").fit(module, Resumable(batches_of(SIZES)), ckpt_path=path)
        assert len(module.trained) == 2

    def test_missing_folder(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ckpt"
        saved({3: path}, SIZES, ENDS, {})
        (tmp_path / "a.ckpt.rehearsal").rename(tmp_path / "elsewhere")
        with pytest.raises(ValueError, match=r"^The buffer of the checkpoint .* is missing; put its folder .* back\.$"):
            resumed(path, SIZES, {}, {})

    def test_moved_together(self, tmp_path: Path) -> None:
        path, other = tmp_path / "a.ckpt", tmp_path / "elsewhere" / "b.ckpt"
        whole = saved({3: path}, SIZES, ENDS, {})
        other.parent.mkdir()
        path.rename(other)
        (tmp_path / "a.ckpt.rehearsal").rename(other.with_name("b.ckpt.rehearsal"))
        assert goes_on(whole, resumed(other, SIZES, {}, {}), 3)

    def test_evaluation_leaves_the_buffer_alone(self, tmp_path: Path) -> None:
        path, strategy = tmp_path / "a.ckpt", strategy_of()
        saved({3: path}, SIZES, ENDS, {})
        trainer = trainer_of(strategy)
        module = Momentum()
        trainer.fit(module, loader_of(range(500, 508)))
        trainer.validate(module, loader_of([1]), ckpt_path=path, verbose=False, weights_only=False)
        assert stored(strategy) == list(range(500, 508))

    def test_after_training(self, tmp_path: Path) -> None:
        path, strategy, module = tmp_path / "a.ckpt", strategy_of(), Momentum()
        trainer = trainer_of(strategy)
        trainer.fit(module, loader_of(range(18)))
        kept = slots(strategy)
        trainer.save_checkpoint(path)
        assert is_whole(path)
        rest = resumed(path, SIZES, {}, {})
        assert rest.stored_then == kept
        assert len(rest.trained) == 10

    def test_object_stores_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"^A buffer is saved to a shared file system, got s3://a/b; "):
            checkpoints.local_path("s3://a/b")

    def test_weights_alone_are_not_saved_after_an_exchange_has_failed(self, tmp_path: Path) -> None:
        path, strategy = tmp_path / "a.ckpt", strategy_of()

        class Saving(Callback):
            def on_before_optimizer_step(self, trainer: Any, *args: Any) -> None:
                if trainer.global_step == 2:
                    failed = strategy.memory._fetched = Job(Mock(side_effect=WorkerLostError("lost")))
                    failed.run()
                    trainer.save_checkpoint(path, weights_only=True)

        with pytest.raises(WorkerLostError, match="lost"):
            trainer_of(strategy, callbacks=[Saving()]).fit(Stranger(), loader_of(range(20)))
        assert not path.exists()


class TestDuringAFit:
    def test_loading_goes_back(self, tmp_path: Path) -> None:
        path, module, strategy = tmp_path / "a.ckpt", Stranger(), strategy_of(buffer_size=200)

        class Back(Callback):
            """Saves after two steps, and returns there after four."""

            def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
                if trainer.global_step == 2 and not path.exists():
                    trainer.save_checkpoint(path)
                elif trainer.global_step == 4:
                    trainer.strategy.load_checkpoint(path)

        trainer_of(strategy, callbacks=[Back()]).fit(module, loader_of(range(24)))
        assert stored(strategy) == [*range(8), *range(16, 24)]
        # The draw that was in flight when it was saved is there again.
        assert module.replayed[4] == module.replayed[2]

    def test_learning_rate_finder_leaves_nothing_behind(self, tmp_path: Path) -> None:
        class Tuned(Stranger):
            def __init__(self) -> None:
                super().__init__()
                self.lr = 0.1

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), lr=self.lr)

        module, strategy = Tuned(), strategy_of(buffer_size=200)
        finder = LearningRateFinder(num_training_steps=4, update_attr=False, early_stop_threshold=None)
        trainer_of(strategy, callbacks=[finder], default_root_dir=tmp_path).fit(module, loader_of(range(20)))
        n_tried = len(module.trained) - 5
        assert n_tried >= 4
        assert stored(strategy) == list(range(20))
        assert [ids[:4] for ids in module.trained[n_tried:]] == [list(range(i, i + 4)) for i in range(0, 20, 4)]
        assert len(module.trained[n_tried]) == 4
        assert names(tmp_path) == []


class TestTheLastCheckpoint:
    def test_it_is_the_newest_one_that_is_complete(self, tmp_path: Path) -> None:
        strategy, module = strategy_of(), Stranger()
        assert strategy.last_checkpoint(tmp_path) is None
        trainer = trainer_of(strategy)
        trainer.fit(module, loader_of(range(8)))
        for name in ("b", "a", "c"):
            trainer.save_checkpoint(tmp_path / f"{name}.ckpt")
        trainer.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
        (tmp_path / "d.ckpt.0123.pending").touch()
        (tmp_path / "last.ckpt").symlink_to("c.ckpt")
        assert strategy.last_checkpoint(tmp_path).resolve() == tmp_path / "c.ckpt"
        next((tmp_path / "c.ckpt.rehearsal").glob("*/index.json")).unlink()
        assert strategy.last_checkpoint(str(tmp_path)) == tmp_path / "a.ckpt"


class Killed(BaseException):
    """Stands for the end of the process."""


class TestAFolderInThePlaceOfAnother:
    """A checkpoint of sharded weights is a folder, and no system call puts one in the place of another."""

    @pytest.fixture
    def stopped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A checkpoint whose replacement was stopped half way."""
        path, pending = tmp_path / "last.ckpt", tmp_path / "last.ckpt.new.pending"
        for place, content in ((path, "old"), (pending, "new")):
            place.mkdir()
            (place / "content").write_text(content)
        buffers = checkpoints.folder_of(path) / "token"
        buffers.mkdir(parents=True)
        (buffers / "index.json").touch()
        real = os.replace

        def replace(source: Path, target: Path) -> None:
            if source == pending:
                raise Killed
            real(source, target)

        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(Killed):
            checkpoints._replace(pending, path)
        monkeypatch.undo()
        assert not path.exists()
        return path

    def test_the_one_before_is_found(self, stopped: Path) -> None:
        assert checkpoints.last_checkpoint(stopped.parent) == stopped
        assert (stopped / "content").read_text() == "old"

    def test_the_next_save_keeps_it_until_its_own_is_there(self, stopped: Path) -> None:
        strategy = strategy_of()
        strategy.memory.open()

        def fail(pending: Path) -> None:
            raise OSError("no space left")

        saves = checkpoints.BufferCheckpoints(strategy.memory)
        with pytest.raises(OSError, match="no space left"):
            saves.save({}, stopped, "next", fail)
        assert (stopped / "content").read_text() == "old"
        assert names(stopped.parent) == ["last.ckpt", "last.ckpt.rehearsal"]
        saves.close()
        strategy.memory.close()

    def test_a_whole_replacement(self, stopped: Path) -> None:
        checkpoints.put_back(stopped)
        checkpoints._replace(stopped.with_name("last.ckpt.new.pending"), stopped)
        assert (stopped / "content").read_text() == "new"
        assert names(stopped.parent) == ["last.ckpt", "last.ckpt.rehearsal"]
