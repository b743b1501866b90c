"""While a checkpoint is being saved, the one before is whole."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from pytorch_lightning import Callback

from redwood.buffers import AsyncRehearsalBuffer
from redwood.buffers.distributed.pipeline import Pipeline
from redwood.buffers.strategy import checkpoints
from tests.buffers.strategy.plain_modules import Stranger, loader_of, rank, strategy_of, trainer_of
from tests.buffers.strategy.save_callbacks import (
    SaveAsCallback,
    SaveAt,
    SavedRun,
    goes_on,
    is_whole,
    names,
    resumed,
    saved,
)
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
        path, real, calls = tmp_path / "a.ckpt", checkpoints.write_checkpoint, []

        def failing(*args: Any) -> Any:
            calls.append(args)
            if len(calls) == 2:
                raise OSError("no space left")
            return real(*args)

        monkeypatch.setattr(checkpoints, "write_checkpoint", failing)
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
        path, real, restore = tmp_path / "a.ckpt", checkpoints.write_checkpoint, threading.Event()
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
                    restore.set()

        def slow(*args: Any) -> Any:
            if path.exists():
                assert restore.wait(60)
            return real(*args)

        monkeypatch.setattr(checkpoints, "write_checkpoint", slow)
        callbacks = [SaveAsCallback({2: path, 7: path}), Looking()]
        trainer = trainer_of(strategy_of(), max_epochs=3, callbacks=callbacks, enable_checkpointing=True)
        trainer.fit(Stranger(), loader_of(range(18)))
        assert steps == [8, 9]
        assert torch.load(path, weights_only=False)["global_step"] == 7
        assert is_whole(path)

    def test_a_first_save_appears_only_once_it_is_whole(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a.ckpt"

        def failing(*args: Any) -> None:
            assert not path.exists()
            raise OSError("no space left")

        monkeypatch.setattr(checkpoints, "write_checkpoint", failing)
        with pytest.raises(OSError, match="no space left"):
            saved({2: path}, SIZES, ENDS, {})
        assert not path.exists()


@contextmanager
def rows_as_late_as_may_be() -> Iterator[None]:
    """The background writes the rows of a step once training waits for them or pauses, and no earlier."""
    gates: list[threading.Event] = []
    transfer_job = Pipeline._transfer_job

    def late(*args: Any) -> Any:
        work, gate = transfer_job(*args), threading.Event()
        gates.append(gate)
        return lambda: work() if gate.wait(10) else None

    def opened(call: Callable[..., Any]) -> Callable[..., Any]:
        def open_and_call(*args: Any) -> Any:
            for gate in gates:
                gate.set()
            return call(*args)

        return open_and_call

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(Pipeline, "_transfer_job", late))
        for name in ("flush", "collect", "begin_pause"):
            patched = opened(getattr(AsyncRehearsalBuffer, name))
            stack.enter_context(mock.patch.object(AsyncRehearsalBuffer, name, patched))
        yield


def saved_late(path: Path) -> SavedRun:
    with rows_as_late_as_may_be():
        return saved({3: path, 7: path}, SIZES, ENDS, {})


def test_rows_that_are_still_to_be_written_are_saved(two_workers: TwoWorkers, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    whole = two_workers.run(saved_late, path)
    rest = two_workers.run(resumed, path, SIZES, {}, {})
    assert all(goes_on(*runs, 7) for runs in zip(whole, rest, strict=True))


def linked(path: Path) -> int:
    """Number of files of the buffer of a checkpoint that it shares with others."""
    return sum(file.stat().st_nlink > 1 for file in path.with_name(f"{path.name}.rehearsal").glob("*/*"))


class SaveInSpiteOfErrors(SaveAt):
    """Goes on after a save has failed."""

    def _save(self, trainer: Any, *args: Any) -> None:
        with suppress(OSError):
            super()._save(trainer, *args)


class TestChangedRows:
    """Of a large buffer few rows change between two saves."""

    STEPS = (9, 10, 11)

    def check(self, folder: Path, n_workers: int, whole: list[SavedRun], resume: Callable[..., list[SavedRun]]) -> None:
        paths = [folder / f"{step}.ckpt" for step in self.STEPS]
        assert [linked(path) for path in paths] == [n_workers, 2 * n_workers, 2 * n_workers]
        for path in paths[:2]:
            shutil.rmtree(path.with_name(f"{path.name}.rehearsal"))
        assert is_whole(paths[2])
        rest = resume(paths[2], SIZES, {"buffer_size": 200}, {})
        assert all(goes_on(*runs, self.STEPS[2]) for runs in zip(whole, rest, strict=True))

    def test_alone(self, tmp_path: Path) -> None:
        paths = {step: tmp_path / f"{step}.ckpt" for step in self.STEPS}
        whole = saved(paths, SIZES, ENDS, {"buffer_size": 200})
        self.check(tmp_path, 1, [whole], lambda *options: [resumed(*options)])

    def test_of_two_workers(self, two_workers: TwoWorkers, tmp_path: Path) -> None:
        paths = {step: tmp_path / f"{step}.ckpt" for step in self.STEPS}
        whole = two_workers.run(saved, paths, SIZES, ENDS, {"buffer_size": 200})
        self.check(tmp_path, 2, whole, lambda *options: two_workers.run(resumed, *options))

    def test_all_are_written_after_a_save_that_failed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real, paths = checkpoints.write_checkpoint, {step: tmp_path / f"{step}.ckpt" for step in (8, 9, 10, 11)}

        def failing(snapshot: Any, folder: Path, *args: Any) -> Any:
            if "10.ckpt" in str(folder):
                raise OSError("no space left")
            return real(snapshot, folder, *args)

        monkeypatch.setattr(checkpoints, "write_checkpoint", failing)
        trainer = trainer_of(strategy_of(buffer_size=200), max_epochs=3, callbacks=[SaveInSpiteOfErrors(paths)])
        trainer.fit(Stranger(), loader_of(range(20)))
        shutil.rmtree(tmp_path / "10.ckpt.rehearsal")  # the part of the one that failed
        assert [linked(paths[step]) for step in (8, 9, 11)] == [1, 1, 0]

    def test_all_are_written_after_loading(self, tmp_path: Path) -> None:
        path, steps = tmp_path / "10.ckpt", {10: tmp_path / "10.ckpt"}
        callback = SaveAt(steps)
        trainer = trainer_of(strategy_of(buffer_size=200), max_epochs=3, callbacks=[callback])
        trainer.fit(Stranger(), loader_of(range(20)))
        callback._paths = {12: tmp_path / "12.ckpt", 13: tmp_path / "13.ckpt"}
        trainer.fit(Stranger(), loader_of(range(20)), ckpt_path=path)
        assert [linked(tmp_path / f"{step}.ckpt") for step in (10, 12, 13)] == [0, 1, 1]
        assert is_whole(tmp_path / "12.ckpt")


class Saving(Stranger):
    """Saves by hand in a step, and notes what is there when the call returns, and when it has waited for callbacks."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.found: list[bool] = []

    def on_train_batch_end(self, *args: Any) -> None:
        if self.global_step == 2:
            self.trainer.save_checkpoint(self._folder / "by_hand.ckpt")
            self.found.append(is_whole(self._folder / "by_hand.ckpt"))
        if self.global_step == 3:
            self.trainer.strategy.wait_for_checkpoints()
            self.found.append(is_whole(self._folder / "by_callback.ckpt"))


def what_is_there(folder: Path) -> list[bool]:
    module, callback = Saving(folder), SaveAsCallback({3: folder / "by_callback.ckpt"})
    trainer = trainer_of(strategy_of(), callbacks=[callback], enable_checkpointing=True)
    trainer.fit(module, loader_of(range(100 * rank(), 100 * rank() + 18)))
    return module.found


class TestWaiting:
    def test_for_what_is_saved_by_hand_and_by_callbacks(
        self, two_workers: TwoWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert two_workers.run(what_is_there, tmp_path) == 2 * [[True, True]]
        real = checkpoints.write_checkpoint

        def slow(*args: Any) -> Any:
            time.sleep(0.3)
            return real(*args)

        monkeypatch.setattr(checkpoints, "write_checkpoint", slow)
        assert what_is_there(tmp_path / "alone") == [True, True]

    def test_a_folder_elsewhere_is_not_looked_at(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ckpt"
        saved({2: path}, SIZES, ENDS, {})
        checkpoint = torch.load(path, weights_only=False)
        for entry in ({"folder": "../elsewhere"}, {"folder": ["a"]}, {}, "a"):
            torch.save({**checkpoint, "async_rehearsal": entry}, path)
            with pytest.raises(ValueError, match="does not name the folder of its buffer; resume from another one"):
                resumed(path, SIZES, {}, {})
