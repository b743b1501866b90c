"""Batches of any structure, and those that are refused."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader

from redwood.buffers import AsyncRehearsalStrategy, Ring
from tests.buffers.helpers import features_of
from tests.buffers.strategy.batch_structures import EPOCH, FORMS, Keeping, alike, loader_as, x_of
from tests.buffers.strategy.plain_modules import Numbers, Stranger, batch_of, loader_of, strategy_of, trainer_of


@pytest.mark.usefixtures("accelerator")
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
            (collated(lambda batch: {**batch, "n": torch.tensor(4)}), r"n \(\); override samples_of and merge of"),
            (collated(lambda batch: {"name": ["a", "b"]}), "got no leaf; override samples_of and merge of the str"),
            ({"a": loader_of(range(8), 4), "b": loader_of(range(6), 3)}, "one B, got a.id .* b.id"),
            ([loader_of(range(8), 4), loader_of(range(6), 3)], "one B, got 0.id .* 1.id"),
        ],
        ids=["scalar", "no tensor", "two loaders", "list of loaders"],
    )
    def test_batch(self, loader: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message) as raised:
            trainer_of(strategy_of()).fit(Keeping(), loader)
        assert is_one_sentence(str(raised.value))

    def test_parts_that_are_no_tensors(self) -> None:
        class OfNames(AsyncRehearsalStrategy):
            def samples_of(self, batch: Any) -> Any:
                return {"x": batch["x"], "name": "a"}

        message = "A buffer stores tensors, got str for leaf name; convert it first; override samples_of and merge of"
        with pytest.raises(ValueError, match=message):
            trainer_of(OfNames(30, 3)).fit(Keeping(), loader_as("dict"))

    def test_parts_that_merge_does_not_know(self) -> None:
        class OfInputs(AsyncRehearsalStrategy):
            def samples_of(self, batch: Any) -> Any:
                return {"x": batch["x"]}

        message = "The batch has the tensors x, y, what is replayed x; override merge of the strategy, which joins"
        with pytest.raises(ValueError, match=message) as raised:
            trainer_of(OfInputs(30, 3)).fit(Keeping(), loader_as("dict"))
        assert is_one_sentence(str(raised.value))

    def test_samples_that_change_their_shape(self) -> None:
        def widths(ids: list[int]) -> dict[str, Tensor]:
            return {"x": torch.zeros(4, 5), "more": torch.zeros(4, 2 + ids[0])}

        with pytest.raises(ValueError, match=r"Leaf more .*; pad all batches to one shape in") as raised:
            trainer_of(strategy_of()).fit(Keeping(), DataLoader(Numbers(range(8)), 4, collate_fn=widths))
        assert is_one_sentence(str(raised.value))

    @pytest.mark.parametrize("start_method", ["spawn", "fork"])
    def test_processes_that_end_with_each_fit(self, start_method: Any) -> None:
        message = (
            f"start_method='{start_method}' starts processes that end with each fit, .* choose start_method='popen'"
        )
        with pytest.raises(ValueError, match=message) as raised:
            trainer_of(strategy_of(start_method=start_method), devices=2)
        assert is_one_sentence(str(raised.value))
        trainer_of(strategy_of(start_method=start_method), devices=1)

    def test_samples_of_many_lengths_that_a_hook_pads(self) -> None:
        """They are stored before the hook; padded in the loader, they train."""

        class Padding(Stranger):
            def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
                return {**batch, "text": pad(batch["text"], (0, 9 - batch["text"].shape[1]))}

        def collated(ids: list[int], length: int = 0) -> dict[str, Tensor]:
            return {**batch_of(ids), "text": torch.ones(len(ids), length or 2 + ids[0])}

        numbers = Numbers(range(12))
        with pytest.raises(ValueError, match="pad all samples to one shape, as in the collate") as raised:
            trainer_of(strategy_of()).fit(Padding(), DataLoader(numbers, 4, collate_fn=collated))
        assert is_one_sentence(str(raised.value))
        module = Stranger()
        trainer_of(strategy_of()).fit(module, DataLoader(numbers, 4, collate_fn=partial(collated, length=9)))
        assert [len(ids) for ids in module.replayed] == [0, 3, 3]

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


class TestWhatIsNoTensor:
    """It is not stored, and stays as it came."""

    def test_is_left_to_the_incoming_samples(self, tmp_path: Any) -> None:
        about = {"name": ["a", "b", "c", "d"], "n": 4, "none": None, "path": tmp_path, "scale": (1.5, torch.ones(4))}
        loader, module = collated(lambda batch: {**batch, **about}), Keeping()
        strategy = strategy_of()
        trainer_of(strategy).fit(module, loader)
        assert list(map(len, module.ids)) == [4, 7]
        for batch, ids in zip(module.batches, module.ids, strict=True):
            assert batch["name"] == about["name"]
            assert (batch["n"], batch["none"], batch["path"], batch["scale"][0]) == (4, None, tmp_path, 1.5)
            assert len(batch["scale"][1]) == len(ids)
        assert strategy.memory.buffer.rows.layout.paths == ["x", "y", "scale.1"]

    def test_is_none_where_a_hook_gets_what_is_replayed(self) -> None:
        module = Hooked()
        trainer_of(strategy_of()).fit(module, collated(lambda batch: {**batch, "name": ["a", "b", "c", "d"]}))
        assert [batch["name"] for batch in module.transferred] == [list("abcd"), list("abcd"), [None] * 4]


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"polcy": "ring"}, r"AsyncRehearsalStrategy has no argument polcy; did you mean policy\?$"),
            ({"find_unused_parameter": True}, r"did you mean find_unused_parameters\?$"),
            ({"qqq": 1}, "has no argument qqq; choose from .*buffer_size.*static_graph"),
            (
                {"buffer": "last.ckpt"},
                "buffer is the `memory` .*'last.ckpt'; to go on from .* Trainer.fit as ckpt_path",
            ),
            ({"extras": "logits"}, r"extras is a sequence of names, got the text 'logits'; write extras=\('logits',\)"),
            ({"timeout": 30}, r"timeout is a datetime.timedelta, got 30; write timedelta\(seconds=...\)"),
            ({"labels": "y"}, "labels is a function of a batch, got 'y'; write labels=lambda batch"),
        ],
        ids=str,
    )
    def test_of_no_use_are_refused(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(TypeError, match=message):
            AsyncRehearsalStrategy(20, 4, **arguments)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"buffer_size": "20"}, "buffer_size has to be a whole number, got '20'"),
            ({"replay": 2.5}, "replay has to be a whole number, got 2.5"),
            ({"policy": "rign"}, "There is no policy 'rign'; choose one of reservoir"),
            ({"policy": Ring}, r"A policy is an object such as Reservoir\(\), got"),
            ({"sampler": "unifrom"}, "There is no sampler 'unifrom'; choose one of uniform"),
        ],
        ids=str,
    )
    def test_of_other_kinds_are_refused(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            AsyncRehearsalStrategy(**arguments)

    def test_of_lightning_are_passed_on(self) -> None:
        strategy = AsyncRehearsalStrategy(20, 4, find_unused_parameters=True, start_method="popen")
        assert strategy._ddp_kwargs == {"find_unused_parameters": True}


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
