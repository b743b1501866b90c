"""Samples are stored as they come, and replayed ones go through the hooks of a transfer again."""

from typing import Any, NamedTuple

import pytest
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from tests.buffers.strategy.batch_structures import EPOCH, Keeping, loader_as, x_of
from tests.buffers.strategy.plain_modules import strategy_of, trainer_of

pytestmark = pytest.mark.usefixtures("accelerator")


class Noise(NamedTuple):
    """Noise that is different in each call, and says in which one it was added."""

    calls: list[int]

    def __call__(self, batch: Any) -> Any:
        self.calls.append(len(batch["x"]))
        return {**batch, "x": batch["x"] * 2.0, "call": torch.full_like(batch["y"], len(self.calls))}


class Augmented(Keeping):
    """Augments its batches on the device."""

    def __init__(self) -> None:
        super().__init__()
        self.noise = Noise([])

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return self.noise(batch) if self.trainer.training else batch


class Data(LightningDataModule):
    """Augments the batches of a module that knows nothing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.noise = Noise([])

    def train_dataloader(self) -> DataLoader[int]:
        return loader_as("dict")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return self.noise(batch)


class TestOnAfterBatchTransfer:
    @pytest.mark.parametrize("by", ["module", "data module"])
    def test_replayed_samples_are_augmented_anew(self, by: str) -> None:
        strategy, data = strategy_of(), Data()
        module = Augmented() if by == "module" else Keeping()
        source: dict[str, Any] = {"datamodule": data}
        if isinstance(module, Augmented):
            source = {"train_dataloaders": loader_as("dict")}
        trainer_of(strategy, max_epochs=2).fit(module, **source)
        calls = module.noise.calls if isinstance(module, Augmented) else data.noise.calls
        assert calls == [4, 4, 3, 2, 3, 4, 3, 4, 3, 2, 3]
        n_calls = 0
        for came, batch in zip(2 * EPOCH, module.batches, strict=True):
            n, ids = len(came), batch["x"][:, 0] / 2
            assert torch.equal(batch["x"], 2 * x_of(ids.long()))
            n_replayed = len(ids) - n
            marks = [n_calls + 1] * n + [n_calls + 2] * n_replayed
            assert batch["call"].tolist() == marks
            n_calls += 1 + bool(n_replayed)
        kept = strategy.memory.buffer.all()
        assert list(kept) == ["x", "y"]
        assert torch.equal(kept["x"], x_of(kept["x"][:, 0].long()))

    def test_what_changes_a_batch_in_place_does_not_change_what_is_stored(self) -> None:
        class InPlace(Keeping):
            def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
                batch["x"].mul_(2.0)
                batch["extra"] = batch.pop("y")
                return batch

        strategy, module = strategy_of(), InPlace()
        trainer_of(strategy, max_epochs=2).fit(module, loader_as("dict"))
        kept = strategy.memory.buffer.all()
        assert list(kept) == ["x", "y"]
        assert torch.equal(kept["x"], x_of(kept["x"][:, 0].long()))
        for batch in module.batches:
            assert torch.equal(batch["x"], 2 * x_of((batch["x"][:, 0] / 2).long()))

    def test_other_hooks_are_not_applied_again(self) -> None:
        """What comes before the transfer is part of what is stored."""

        class Before(Keeping):
            def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
                return {"x": batch["x"] * 2, "y": batch["y"]}

        module = Before()
        trainer_of(strategy_of()).fit(module, loader_as("dict"))
        for batch in module.batches:
            assert torch.equal(batch["x"], 2 * x_of((batch["x"][:, 0] / 2).long()))
        assert list(map(len, module.ids)) == [4, 7, 5]
