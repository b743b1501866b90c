"""Batches of any structure, and those that are refused."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from redwood.buffers.strategy.batches import labels_of, merged, shell, tasks_of
from tests.buffers.helpers import features_of
from tests.buffers.strategy.strangers import Numbers, loader_of, strategy_of, trainer_of

EPOCH = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


class Pair(NamedTuple):
    x: Tensor
    y: Tensor


def x_of(ids: Tensor) -> Tensor:
    """Inputs (n, 5): the number of the sample, and its features."""
    return torch.cat([ids[:, None].float(), features_of(ids)], 1)


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "pair": lambda ids: (x_of(ids), ids % 3),
    "list": lambda ids: [x_of(ids), ids % 3],
    "named": lambda ids: Pair(x_of(ids), ids % 3),
    "dict": lambda ids: {"x": x_of(ids), "y": ids % 3},
    "nested": lambda ids: {"views": (x_of(ids), x_of(ids) / 2), "about": [ids % 3, {"id": ids}]},
    "tensor": x_of,
}


def first_leaf(batch: Any) -> Tensor:
    while not isinstance(batch, Tensor):
        batch = next(iter(batch.values() if isinstance(batch, dict) else batch))
    return batch


def loader_as(form: str, n: int = 10) -> DataLoader[int]:
    return DataLoader(Numbers(range(n)), 4, collate_fn=lambda ids: FORMS[form](torch.tensor(ids)))


def alike(a: Any, b: Any) -> bool:
    """Whether two trees have the same types and tensors."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(alike(a[name], b[name]) for name in a)
    return len(a) == len(b) and all(map(alike, a, b))


class Keeping(LightningModule):
    """Trains on batches of any form, and keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(5, 1)
        self.batches: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.batches.append(batch)
        return self.net(first_leaf(batch)).square().mean()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-4)

    @property
    def ids(self) -> list[list[int]]:
        return [first_leaf(batch)[:, 0].long().tolist() for batch in self.batches]


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


class TestParts:
    y, task = torch.tensor([1, 2]), torch.tensor([0, 0])

    @pytest.mark.parametrize("name", ["y", "label", "labels", "target", "targets"])
    def test_labels_by_name(self, name: str) -> None:
        assert labels_of({"x": torch.zeros(2), name: self.y}) is self.y

    @pytest.mark.parametrize("batch", [(torch.zeros(2), y), [torch.zeros(2), y], Pair(torch.zeros(2), y)])
    def test_labels_of_pairs(self, batch: Any) -> None:
        assert labels_of(batch) is self.y

    @pytest.mark.parametrize("batch", [torch.zeros(2), {"x": torch.zeros(2)}, (y, y, y), {"y": "cat"}, (y, [y])])
    def test_no_labels(self, batch: Any) -> None:
        assert labels_of(batch) is None

    @pytest.mark.parametrize("name", ["task", "tasks", "task_id", "task_ids"])
    def test_tasks_by_name(self, name: str) -> None:
        assert tasks_of({name: self.task}) is self.task
        assert tasks_of((self.y, self.task)) is None

    def test_merged_batches_have_the_structure_of_the_first(self) -> None:
        whole = merged(Pair(torch.zeros(2, 1), self.y), [torch.ones(1, 1), torch.tensor([3])])
        assert alike(whole, Pair(torch.tensor([[0.0], [0.0], [1.0]]), torch.tensor([1, 2, 3])))

    def test_shell_shares_tensors_only(self) -> None:
        batch = {"x": [self.y]}
        copy = shell(batch)
        batch["x"].append(self.task)
        assert len(copy["x"]) == 1
        assert copy["x"][0] is self.y


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
