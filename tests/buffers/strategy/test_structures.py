"""Batches of any structure, and those that are refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from tests.buffers.helpers import features_of
from tests.buffers.strategy.forms import EPOCH, FORMS, Keeping, alike, loader_as, x_of
from tests.buffers.strategy.strangers import Numbers, loader_of, strategy_of, trainer_of


@pytest.mark.parametrize("form", FORMS)
class TestForms:
    def test_is_trained_on_in_its_own_form(self, form: str) -> None:
        module = Keeping()
        trainer_of(strategy_of()).fit(module, loader_as(form))
        assert [len(ids) for ids in module.ids] == [4, 7, 5]
        assert [ids[: len(came)] for ids, came in zip(module.ids, EPOCH, strict=True)] == EPOCH
        for ids, batch in zip(module.ids, module.batches, strict=True):
            assert alike(batch, FORMS[form](torch.tensor(ids)))

    def test_keeps_its_form_after_a_resumption(self, form: str, tmp_path: Any) -> None:
        path = tmp_path / "a.ckpt"
        trainer = trainer_of(strategy_of())
        trainer.fit(Keeping(), loader_as(form))
        trainer.save_checkpoint(path)
        module, hooked = Keeping(), Hooked()
        trainer_of(strategy_of(), max_epochs=2).fit(module, loader_as(form), ckpt_path=path)
        trainer_of(strategy_of(), max_epochs=2).fit(hooked, loader_as(form), ckpt_path=path)
        assert [len(ids) for ids in module.ids] == [7, 7, 5]
        for ids, batch, seen in zip(module.ids, module.batches, hooked.batches, strict=True):
            assert alike(batch, FORMS[form](torch.tensor(ids)))
            assert alike(batch, seen)
        wanted = type(FORMS[form](torch.tensor([0])))
        assert all(isinstance(batch, wanted) for batch in hooked.transferred)


class Hooked(Keeping):
    """Looks at what is transferred."""

    def __init__(self) -> None:
        super().__init__()
        self.transferred: list[Any] = []

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.transferred.append(batch)
        return batch


def collated(change: Callable[[dict[str, Any]], dict[str, Any]]) -> DataLoader[int]:
    return DataLoader(Numbers(range(8)), 4, collate_fn=lambda ids: change(FORMS["dict"](torch.tensor(ids))))


class TestRefused:
    @pytest.mark.parametrize(
        ("loader", "message"),
        [
            (
                collated(lambda batch: {**batch, "name": ["a", "b", "c", "d"]}),
                r"A buffer stores tensors, got str for leaf name\.0; convert it first\.",
            ),
            (collated(lambda batch: {**batch, "n": 4}), "A buffer stores tensors, got int for leaf n; "),
            (collated(lambda batch: {**batch, "n": torch.tensor(4)}), r"n \(\)"),
            ({"a": loader_of(range(8), 4), "b": loader_of(range(6), 3)}, "one B, got a.id .* b.id"),
            ([loader_of(range(8), 4), loader_of(range(6), 3)], "one B, got 0.id .* 1.id"),
        ],
        ids=["strings", "number", "scalar", "two loaders", "list of loaders"],
    )
    def test_batch(self, loader: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message) as raised:
            trainer_of(strategy_of()).fit(Keeping(), loader)
        assert is_one_sentence(str(raised.value))

    def test_samples_that_change_their_shape(self) -> None:
        def widths(ids: list[int]) -> dict[str, Tensor]:
            return {"x": torch.zeros(4, 5), "more": torch.zeros(4, 2 + ids[0])}

        with pytest.raises(ValueError, match="more") as raised:
            trainer_of(strategy_of()).fit(Keeping(), DataLoader(Numbers(range(8)), 4, collate_fn=widths))
        assert is_one_sentence(str(raised.value))

    def test_dataloader_iter(self) -> None:
        class Iterating(Keeping):
            def training_step(self, dataloader_iter: Any) -> Tensor:  # type: ignore[override]
                return super().training_step(next(dataloader_iter), 0)

        with pytest.raises(
            ValueError, match=r"^training_step\(dataloader_iter\) takes its batches by itself"
        ) as raised:
            trainer_of(strategy_of()).fit(Iterating(), loader_as("dict"))
        assert is_one_sentence(str(raised.value))

    def test_samples_that_a_hook_makes_different(self) -> None:
        class Cropping(Keeping):
            """Crops by how many samples there are."""

            def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
                return {**batch, "y": batch["y"].to(torch.int32 if len(batch["y"]) == 3 else torch.int64)}

        with pytest.raises(ValueError, match=r"^Leaf y of the incoming samples is .*; let on_after_") as raised:
            trainer_of(strategy_of()).fit(Cropping(), loader_as("dict"))
        assert is_one_sentence(str(raised.value))


def is_one_sentence(message: str) -> bool:
    return "\n" not in message and message.rstrip(".").count(". ") == 0


def test_loaders_of_equal_batches_are_replayed_together() -> None:
    class Both(Keeping):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            assert torch.equal(batch["a"]["id"] + 50, batch["b"]["id"])
            assert torch.equal(batch["b"]["x"], features_of(batch["b"]["id"]))
            self.batches.append(batch["a"]["id"].tolist())
            return self.net.weight.sum()

    module = Both()
    trainer_of(strategy_of()).fit(module, {"a": loader_of(range(12)), "b": loader_of(range(50, 62))})
    assert list(map(len, module.batches)) == [4, 7, 7]


def test_needs_labels_only_where_something_goes_by_them() -> None:
    """Labels that are no classes do no harm to a policy that does not look at them."""

    def regression(ids: list[int]) -> tuple[Tensor, Tensor]:
        return x_of(torch.tensor(ids)), torch.rand(len(ids), 2, 2)

    loader: DataLoader[int] = DataLoader(Numbers(range(10)), 4, collate_fn=regression)
    module = Keeping()
    trainer_of(strategy_of()).fit(module, loader)
    assert list(map(len, module.ids)) == [4, 7, 5]
    with pytest.raises(ValueError, match="labels") as raised:
        trainer_of(strategy_of(policy="class_balanced")).fit(Keeping(), loader)
    assert is_one_sentence(str(raised.value))


def test_labels_can_be_found_by_the_user() -> None:
    strategy = strategy_of(policy="class_balanced", labels=lambda batch: batch["about"][0])
    trainer_of(strategy).fit(Keeping(), loader_as("nested"))
    assert strategy.memory.buffer.class_counts("about.0") == {0: 4, 1: 3, 2: 3}
