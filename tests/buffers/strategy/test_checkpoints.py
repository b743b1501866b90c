"""While a checkpoint is being saved, the one before is whole."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback

from redwood.buffers.strategy import checkpoints
from tests.buffers.strategy.saving import SaveAt, goes_on, is_whole, names, resumed, saved
from tests.buffers.strategy.strangers import Stranger, loader_of, strategy_of, trainer_of
from tests.workers import TwoWorkers

SIZES = [[4, 4, 4, 4, 2], [4, 4, 4, 4, 3]]
ENDS = "on_train_batch_end"


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
                    assert (tmp_path / "a.ckpt.rehearsal" / folder / "index.json").is_file()
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
