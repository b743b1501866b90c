"""All workers launch the same collectives in the same order on each process group, whatever happens in a run."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.buffers.strategy.collective_log import (
    BACKGROUND,
    BACKWARD,
    TRAINING,
    CollectiveLog,
    logged_collectives,
    rows_with_the_gradients,
)
from tests.buffers.strategy.plain_modules import Resumable, rank, strategy_of, trainer_of
from tests.buffers.strategy.save_callbacks import Momentum, SaveAsCallback, SaveAt, batches_of
from tests.workers import GlooWorkers

Launched = dict[str, list[tuple[str, str]]]
EVEN, RAGGED = [[4, 4, 4], [4, 2, 3]], [[4, 4, 4], [4, 2], [3]]
EPOCHS = 2
STEPS = EPOCHS * 3


class Logged(Momentum):
    """Has DDP note when gradients are averaged."""

    def __init__(self, log: CollectiveLog) -> None:
        super().__init__()
        self._log = log

    def on_train_start(self) -> None:
        self.trainer.strategy.model.register_comm_hook(None, self._log.reduced)


class Failing(Logged):
    """Fails on one worker in some step."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if rank() == 1 and self.trainer.global_step == 3:
            raise ZeroDivisionError
        return super().training_step(batch, batch_idx)


def launched(
    as_nccl: bool, training: dict[str, Any], folder: Path, sizes: Any = RAGGED, fails: bool = False, load: bool = False
) -> Launched:
    """The collectives of this worker in a run that is saved twice, or in one that goes on from the first save."""
    rows = rows_with_the_gradients() if as_nccl else contextlib.nullcontext()
    with rows, logged_collectives() as log:
        try:
            callbacks = [] if load else [SaveAt({2: folder / "a"}), SaveAsCallback({4: folder / "b"})]
            strategy = strategy_of()
            trainer = trainer_of(
                strategy, max_epochs=EPOCHS, callbacks=callbacks, enable_checkpointing=not load, **training
            )
            loaders = Resumable(batches_of(sizes)), Resumable([[900, 901]])
            trainer.fit((Failing if fails else Logged)(log), *loaders, ckpt_path=folder / "a" if load else None)
        finally:
            log.save(folder / f"log_{rank()}")
    return log.of_group()


def check_order(logs: list[Launched], as_nccl: bool) -> None:
    for other in logs[1:]:
        assert list(other.values()) == list(logs[0].values())
    (gradients,) = [on for on in logs[0].values() if ("gradients", BACKWARD) in on]
    rows = [entry for on in logs[0].values() for entry in on if entry[0] == "rows"]
    assert len(rows) >= STEPS - 2
    assert {thread for _, thread in rows} == {TRAINING if as_nccl else BACKGROUND}
    assert all(thread != BACKGROUND for _, thread in gradients)
    if as_nccl:  # the rows of a step go before its gradients
        steps = "".join(method[0] for method, _ in gradients if method in ("rows", "gradients"))
        assert steps.count("rg") == steps.count("g") > 0


RUNS = [
    {},
    {"accumulate_grad_batches": 2},
    {"val_check_interval": 1},
]


@pytest.mark.parametrize("training", RUNS, ids=str)
@pytest.mark.parametrize("as_nccl", [False, True])
@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.few(3)
def test_one_order(
    gloo_workers: GlooWorkers, world: int, as_nccl: bool, training: dict[str, Any], tmp_path: Path
) -> None:
    logs = gloo_workers.run(world, launched, as_nccl, training, tmp_path)
    check_order(logs, as_nccl)
    for on in logs[-1].values():  # the check itself
        on[3:] = reversed(on[3:])
    with pytest.raises(AssertionError):
        check_order(logs, as_nccl)


@pytest.mark.parametrize("as_nccl", [False, True])
def test_one_order_after_loading(gloo_workers: GlooWorkers, as_nccl: bool, tmp_path: Path) -> None:
    gloo_workers.run(2, launched, as_nccl, {}, tmp_path, EVEN)
    check_order(gloo_workers.run(2, launched, as_nccl, {}, tmp_path, EVEN, False, True), as_nccl)


@pytest.mark.parametrize("as_nccl", [False, True])
def test_one_order_until_a_worker_fails(gloo_workers: GlooWorkers, as_nccl: bool, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        gloo_workers.run(2, launched, as_nccl, {}, tmp_path, RAGGED, True)
    first, second = (list(json.loads((tmp_path / f"log_{worker}").read_text()).values()) for worker in range(2))
    for on_first, on_second in zip(first, second, strict=True):
        n = min(len(on_first), len(on_second))
        assert on_first[:n] == on_second[:n]
    assert sum(map(len, first)) > 10
