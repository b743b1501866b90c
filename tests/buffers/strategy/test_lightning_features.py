"""What Lightning offers beside plain training works with any module."""

from collections.abc import Iterator
from typing import Any

import pytest
from pytorch_lightning.callbacks import StochasticWeightAveraging
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from tests.buffers.strategy.plain_modules import (
    BATCHES,
    Stranger,
    batch_of,
    is_complete,
    loader_of,
    stored,
    strategy_of,
    trainer_of,
)

pytestmark = pytest.mark.usefixtures("accelerator")


def test_weight_averaging_measures_batch_norm_without_rehearsal() -> None:
    class Normed(Stranger):
        def __init__(self) -> None:
            super().__init__()
            self.net.insert(0, nn.BatchNorm1d(4))

    module, strategy = Normed(), strategy_of(buffer_size=200)
    averaging = StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=2)
    trainer_of(strategy, max_epochs=3, callbacks=[averaging]).fit(module, loader_of(range(18)))
    assert module.incoming == 4 * BATCHES
    assert [len(ids) for ids in module.replayed] == [0] + 14 * [3] + 5 * [0]
    assert stored(strategy) == sorted(3 * list(range(18)))
    assert module.net[0].num_batches_tracked == 5


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"max_steps": 3, "max_epochs": -1}, 3),
        ({"limit_train_batches": 2, "max_epochs": 2}, 4),
        ({"fast_dev_run": 2}, 2),
        ({"overfit_batches": 2, "max_epochs": 2}, 4),
    ],
    ids=str,
)
def test_fewer_batches(options: dict[str, Any], steps: int) -> None:
    module, strategy = Stranger(), strategy_of(buffer_size=200)
    trainer_of(strategy, **options).fit(module, loader_of(range(18)))
    assert len(module.trained) == steps
    assert stored(strategy) == sorted(number for ids in module.incoming for number in ids)


def test_loader_of_unknown_length() -> None:
    """Lightning fetches a batch ahead of those."""

    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return map(batch_of, BATCHES)

    module, strategy = Stranger(), strategy_of(buffer_size=200)
    trainer_of(strategy, max_epochs=2).fit(module, DataLoader(Stream(), batch_size=None))
    assert is_complete(module, epochs=2)
    assert stored(strategy) == sorted(2 * list(range(18)))


def test_steps_without_a_loss() -> None:
    class Picky(Stranger):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx % 2 else loss

    module, strategy = Picky(), strategy_of()
    trainer_of(strategy).fit(module, loader_of(range(18)))
    assert is_complete(module)
    assert stored(strategy) == list(range(18))


def test_epoch_cut_short_by_the_module() -> None:
    class Hasty(Stranger):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:  # type: ignore[override]
            if batch_idx == 2:
                return -1
            super().on_train_batch_start(batch, batch_idx)
            return None

    module = Hasty()
    trainer_of(strategy_of(), max_epochs=2).fit(module, loader_of(range(18)))
    assert module.incoming == 2 * BATCHES[:2]
    assert [len(ids) for ids in module.replayed] == [0, 3, 3, 3]


class Lines(Logger):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, dict[str, float]]] = []

    name, version = "lines", 0

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.lines.append((step or 0, metrics))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """There are none."""


def test_costs_are_logged() -> None:
    # Samples that were stored in so many steps; of 18 samples the fifth batch of a pass has two.
    lines, strategy = Lines(), strategy_of()
    trainer_of(strategy, logger=lines, log_every_n_steps=2, max_epochs=2).fit(Stranger(), loader_of(range(18)))
    costs = [(step, metrics) for step, metrics in lines.lines if "rehearsal/stored" in metrics]
    assert [step for step, _ in costs] == [2, 4, 6, 8]
    assert all(name.startswith("rehearsal/") for _, metrics in costs for name in metrics)
    assert [metrics["rehearsal/stored"] for _, metrics in costs] == [8, 16, 22, 30]
    assert {"rehearsal/wait_ms", "rehearsal/step_ms", "rehearsal/replayed"} <= costs[0][1].keys()
    assert [metrics["rehearsal/steps"] for _, metrics in costs] == [3, 5, 7, 9]
