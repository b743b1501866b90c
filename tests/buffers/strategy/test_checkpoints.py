"""The files and folders that checkpoints with a buffer leave behind."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import LearningRateFinder, ModelCheckpoint

from redwood.buffers.strategy import checkpoints
from tests.buffers.strategy.saving import Momentum, SaveAt, batches_of, goes_on, resumed, saved, slots
from tests.buffers.strategy.strangers import Resumable, Stranger, loader_of, rank, stored, strategy_of, trainer_of
from tests.workers import TwoWorkers

SIZES = [[4, 4, 4, 4, 2], [4, 4, 4, 4, 3]]
ENDS = "on_train_batch_end"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def is_whole(path: Path) -> bool:
    """Whether the buffer of a checkpoint is there, and no other one, nor a part of one."""
    folder = path.resolve().with_name(f"{path.resolve().name}.rehearsal")
    entry = torch.load(path, weights_only=False)["async_rehearsal"]
    return names(folder) == [entry["folder"]] and (folder / entry["folder"] / ".metadata").is_file()


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


class TestSameName:
    def test_the_latest_one_counts(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ckpt"
        steps = dict.fromkeys((2, 3, 7), path)
        whole = saved(steps, SIZES, ENDS, {})
        assert is_whole(path)
        assert goes_on(whole, resumed(path, SIZES, {}, {}), 7)

    def test_of_two_workers(self, two_workers: TwoWorkers, tmp_path: Path) -> None:
        path = tmp_path / "a.ckpt"
        whole = two_workers.run(saved, dict.fromkeys((2, 3, 7), path), SIZES, ENDS, {})
        assert is_whole(path)
        rest = two_workers.run(resumed, path, SIZES, {}, {})
        assert all(goes_on(*runs, 7) for runs in zip(whole, rest, strict=True))

    def test_a_save_that_fails_leaves_the_one_before(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path, real, calls = tmp_path / "a.ckpt", checkpoints.write_shards, []

        def failing(*args: Any) -> None:
            calls.append(args)
            if len(calls) == 2:
                raise OSError("no space left")
            real(*args)

        monkeypatch.setattr(checkpoints, "write_shards", failing)
        with pytest.raises(OSError, match="no space left"):
            saved({2: path, 7: path}, SIZES, ENDS, {})
        monkeypatch.undo()
        assert torch.load(path, weights_only=False)["global_step"] == 2
        assert is_whole(path)
        assert names(tmp_path) == ["a.ckpt", "a.ckpt.rehearsal"]
        whole = saved({2: tmp_path / "b.ckpt"}, SIZES, ENDS, {})
        assert goes_on(whole, resumed(path, SIZES, {}, {}), 2)

    def test_training_goes_on_while_the_one_before_is_whole(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, real, go_on = tmp_path / "a.ckpt", checkpoints.write_shards, threading.Event()
        steps: list[int] = []

        class Looking(Callback):
            """Looks at the files in the steps after the second save, and only then lets it end."""

            def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
                if 7 < trainer.global_step < 10:
                    assert torch.load(path, weights_only=False)["global_step"] == 2
                    folder = torch.load(path, weights_only=False)["async_rehearsal"]["folder"]
                    assert (tmp_path / "a.ckpt.rehearsal" / folder / ".metadata").is_file()
                    steps.append(trainer.global_step)
                elif trainer.global_step == 10:
                    go_on.set()

        def slow(*args: Any) -> None:
            if path.exists():
                assert go_on.wait(60)
            real(*args)

        monkeypatch.setattr(checkpoints, "write_shards", slow)
        callbacks = [SaveAt({2: path, 7: path}), Looking()]
        trainer_of(strategy_of(), max_epochs=3, callbacks=callbacks).fit(Stranger(), loader_of(range(18)))
        assert steps == [8, 9]
        assert torch.load(path, weights_only=False)["global_step"] == 7
        assert is_whole(path)

    def test_a_first_save_appears_only_once_it_is_whole(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a.ckpt"

        def failing(*args: Any) -> None:
            assert not path.exists()
            raise OSError("no space left")

        monkeypatch.setattr(checkpoints, "write_shards", failing)
        with pytest.raises(OSError, match="no space left"):
            saved({2: path}, SIZES, ENDS, {})
        assert not path.exists()


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
        finder = LearningRateFinder(num_training_steps=6, update_attr=False, early_stop_threshold=None)
        trainer_of(strategy, callbacks=[finder], default_root_dir=tmp_path).fit(module, loader_of(range(20)))
        n_tried = len(module.trained) - 5
        assert n_tried >= 6
        assert stored(strategy) == list(range(20))
        assert [ids[:4] for ids in module.trained[n_tried:]] == [list(range(i, i + 4)) for i in range(0, 20, 4)]
        assert len(module.trained[n_tried]) == 4
        assert names(tmp_path) == []
