"""The callback: a strategy of Lightning then does what `AsyncRehearsalStrategy` does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
    Strategy,
)
from pytorch_lightning.strategies.single_xla import SingleDeviceXLAStrategy
from pytorch_lightning.strategies.xla import XLAStrategy
from torch import Tensor

from redwood.buffers import AsyncRehearsalBuffer, AsyncRehearsalCallback, BufferInputError
from tests.buffers.strategy.plain_modules import Resumable, Stranger, loader_of, rank, strategy_of, trainer_of
from tests.buffers.strategy.save_callbacks import SaveAt, batches_of, names, slots
from tests.buffers.strategy.sharded_modules import PlainFSDP, Sharded, whole_weights
from tests.workers import TwoWorkers

SIZES = [[4, 4, 4, 2], [4, 1, 4]]
KINDS: dict[str, Any] = {
    "alone": lambda: SingleDeviceStrategy("cpu"),
    "ddp": DDPStrategy,
    "fsdp": PlainFSDP,
    "model_parallel": lambda: ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1),
}


def callback_of(**options: Any) -> AsyncRehearsalCallback:
    return AsyncRehearsalCallback(AsyncRehearsalBuffer(30, replay=3), **options)


def trained(kind: str | None, path: Path | None = None) -> tuple[list[list[int]], list[int], list[Tensor]]:
    """Train with the callback and a strategy of Lightning, or with `AsyncRehearsalStrategy`; resume from a checkpoint.

    Without a checkpoint of that name one is saved there after the second step.
    """
    module, callbacks = Sharded(), [] if kind is None else [callback_of()]
    strategy = strategy_of() if kind is None else KINDS[kind]()
    is_saved = path is not None and path.exists()
    saving = [] if path is None or is_saved else [SaveAt({2: path})]
    trainer = trainer_of(strategy, max_epochs=2, callbacks=[*callbacks, *saving])
    trainer.fit(module, Resumable(batches_of(SIZES)), ckpt_path=path if is_saved else None)
    return module.trained, slots(trainer.strategy), whole_weights(strategy.model)


def same(one: Any, other: Any, steps: int = 0) -> bool:
    close = all(torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(one[2], other[2], strict=True))
    return close and (one[0][steps:], one[1]) == other[:2]


@pytest.mark.parametrize("kind", ["ddp", "fsdp", "model_parallel"])
@pytest.mark.few(1)
def test_trains_as_the_strategy_does(two_workers: TwoWorkers, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.ckpt"
    wanted = two_workers.run(trained, None)
    found = two_workers.run(trained, kind, path)
    assert all(same(*runs) for runs in zip(wanted, found, strict=True))
    assert names(tmp_path) == ["a.ckpt", "a.ckpt.rehearsal"]
    rest = two_workers.run(trained, kind, path)
    assert all(same(*runs, steps=2) for runs in zip(found, rest, strict=True))


def test_trains_as_the_strategy_does_alone() -> None:
    assert same(trained(None), trained("alone"))


def test_next_fit_goes_on_with_the_buffer() -> None:
    callback, module = callback_of(), Stranger()
    trainer = trainer_of("auto", max_epochs=1, callbacks=[callback])
    trainer.fit(module, loader_of(range(8)))
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, loader_of(range(8)))
    again = trainer_of("auto", callbacks=[callback])
    again.fit(module, loader_of(range(8)))
    assert [len(ids) for ids in module.replayed] == [0] + 5 * [3]
    assert len(callback.memory.buffer) == 24


def test_evaluation_leaves_the_strategy_alone() -> None:
    class Tested(Stranger):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.log("n", float(len(batch["id"])), reduce_fx="sum")

    trainer = trainer_of("auto", callbacks=[callback_of()])
    (result,) = trainer.test(Tested(), loader_of(range(10)), verbose=False)
    assert result == {"n": 10.0}
    assert type(trainer.strategy) is SingleDeviceStrategy


def test_extras() -> None:
    class Extra(Stranger):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            strategy: Any = self.trainer.strategy
            old = strategy.replayed_extras.get("tenfold")
            n = len(batch["id"]) - (0 if old is None else len(old))
            assert old is None or torch.equal(old, 10 * batch["id"][n:])
            strategy.add_extras(tenfold=10 * batch["id"][:n])
            return super().training_step(batch, batch_idx)

    module = Extra()
    trainer_of("auto", callbacks=[callback_of(extras=["tenfold"])]).fit(module, loader_of(range(12)))
    assert [len(ids) for ids in module.replayed] == [0, 3, 3]


class TestRefused:
    def test_strategy_that_rehearses(self) -> None:
        with pytest.raises(BufferInputError, match=r"AsyncRehearsalStrategy rehearses already; leave out"):
            trainer_of(strategy_of(), callbacks=[callback_of()]).fit(Stranger(), loader_of(range(8)))

    @pytest.mark.parametrize("name", ["ddp_spawn", "ddp_fork", "ddp_notebook"])
    def test_processes_that_end_with_each_fit(self, name: str) -> None:
        callback, trainer = callback_of(), trainer_of(name, devices=2)
        with pytest.raises(BufferInputError, match=r"starts processes that end with each fit, .* choose start_method="):
            callback.setup(trainer, Stranger(), "fit")

    def test_other_strategies(self) -> None:
        callback, trainer = callback_of(), trainer_of("auto")
        trainer.strategy.__class__ = type("Plain", (Strategy,), dict.fromkeys(Strategy.__abstractmethods__))
        with pytest.raises(BufferInputError, match=r"cannot serve Plain; choose the strategy ddp, fsdp"):
            callback.setup(trainer, Stranger(), "fit")

    @pytest.mark.parametrize("kind", [DeepSpeedStrategy, XLAStrategy, SingleDeviceXLAStrategy])
    def test_strategies_that_keep_gradients_to_themselves(self, kind: Any) -> None:
        callback, trainer = callback_of(), trainer_of("auto")
        trainer.strategy.__class__ = type("Own", (kind,), {"__init__": lambda self: None})
        with pytest.raises(BufferInputError, match=r"cannot serve Own; choose the strategy ddp, fsdp"):
            callback.setup(trainer, Stranger(), "fit")

    def test_strategies_that_cannot_change(self) -> None:
        class First:
            pass

        class Mixed(First, SingleDeviceStrategy):
            pass

        with pytest.raises(BufferInputError, match=r"cannot serve Mixed; make it inherit from RehearsalMixin"):
            trainer_of(Mixed("cpu"), callbacks=[callback_of()]).fit(Stranger(), loader_of(range(8)))

    @pytest.mark.parametrize(
        ("memory", "options", "message"),
        [
            (100, {}, r"memory is an AsyncRehearsalBuffer, got 100; write AsyncRehearsalBuffer\(\.\.\.\)\.$"),
            (AsyncRehearsalBuffer(9, replay=1), {"extras": "logits"}, r"extras is a sequence of names"),
            (AsyncRehearsalBuffer(9, replay=1), {"timeout": 3}, r"timeout is a datetime.timedelta, got 3"),
            (AsyncRehearsalBuffer(9, replay=1), {"labels": "y"}, r"labels is a function of a batch, got 'y'"),
        ],
    )
    def test_arguments_of_another_kind(self, memory: Any, options: dict[str, Any], message: str) -> None:
        with pytest.raises(TypeError, match=message):
            AsyncRehearsalCallback(memory, **options)


def fits_after_an_error() -> list[int]:
    """All workers fail in the third step; the callback serves another run once the buffer is reset, and not before."""

    class Failing(Stranger):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 2:
                raise ValueError("planted")

    callback, loader = callback_of(), loader_of(range(100 * rank(), 100 * rank() + 12))
    with pytest.raises(ValueError, match="planted"):
        trainer_of(DDPStrategy(), callbacks=[callback]).fit(Failing(), loader)
    with pytest.raises(BufferInputError, match="interrupted the exchange of this buffer"):
        trainer_of(DDPStrategy(), callbacks=[callback]).fit(Stranger(), loader)
    callback.memory.reset()
    module = Stranger()
    trainer_of(DDPStrategy(), callbacks=[callback]).fit(module, loader)
    return [len(ids) for ids in module.replayed]


def test_serves_another_run_after_an_error(two_workers: TwoWorkers) -> None:
    assert two_workers.run(fits_after_an_error) == [[0, 3, 3], [0, 3, 3]]
