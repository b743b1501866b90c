from inspect import getattr_static
from itertools import islice
from typing import Any

import pytest
import torch
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from redwood.buffers.strategy.uneven_inputs import EvenLoader
from tests.buffers.strategy.plain_modules import (
    Numbers,
    Resumable,
    Stranger,
    batch_of,
    loader_of_batches,
    rank,
    stored,
    strategy_of,
    trainer_of,
)
from tests.workers import TwoWorkers


class Weighed(Stranger):
    """Notes what its loss is multiplied by."""

    def __init__(self) -> None:
        super().__init__()
        self.factors: list[float] = []

    def on_after_backward(self) -> None:
        self.factors.append(self.trainer.strategy.memory.weight())

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        assert len(batch["id"])


class OfUnknownLength:
    """A loader that does not know its length."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __iter__(self) -> Any:
        return iter(self._loader)


def trained_on(sizes: list[list[int]], training: dict[str, Any], unknown: tuple[int, ...] = ()) -> tuple[Any, ...]:
    module, strategy = Weighed(), strategy_of(buffer_size=400, replay=2)
    trainer = trainer_of(strategy, **training)
    loader: Any = loader_of_batches(sizes[rank()], start=100 * rank())
    if rank() in unknown:
        loader = OfUnknownLength(loader)
    trainer.fit(module, loader, loader_of_batches([3], start=900))
    return module.incoming, module.factors, stored(strategy), trainer.global_step, trainer.current_epoch


@pytest.mark.parametrize("sizes", [[[4, 4], [4, 4, 4, 2]], [[3, 4, 4, 4, 1], [2]], [[4, 1], [4, 4]]])
@pytest.mark.parametrize("training", [{"max_epochs": 2}, {"max_epochs": 2, "val_check_interval": 0.5}], ids=str)
def test_all_batches_count_once(two_workers: TwoWorkers, sizes: list[list[int]], training: dict[str, Any]) -> None:
    check_all_batches_count_once(two_workers.run(trained_on, sizes, training), sizes)


@pytest.mark.parametrize(("unknown", "sizes"), [((0, 1), [[4, 4], [4, 4, 4, 2]]), ((1,), [[3, 4, 4, 4, 1], [2]])])
def test_all_batches_count_once_where_nobody_knows_how_many_there_are(
    two_workers: TwoWorkers, unknown: tuple[int, ...], sizes: list[list[int]]
) -> None:
    answers = two_workers.run(trained_on, sizes, {"max_epochs": 2}, unknown)
    check_all_batches_count_once(answers, sizes)


def check_all_batches_count_once(answers: list[Any], sizes: list[list[int]]) -> None:
    longest = max(map(len, sizes))
    for worker, (incoming, factors, kept, steps, epochs) in enumerate(answers):
        ids = list(range(100 * worker, 100 * worker + sum(sizes[worker])))
        ends = [sum(sizes[worker][: step + 1]) for step in range(len(sizes[worker]))]
        batches = [ids[end - size : end] for end, size in zip(ends, sizes[worker], strict=True)]
        n_repeated = longest - len(batches)
        assert incoming == 2 * (batches + n_repeated * batches[-1:])
        assert [factor > 0 for factor in factors] == 2 * ([True] * len(batches) + [False] * n_repeated)
        assert kept == sorted(2 * ids)
        assert (steps, epochs) == (2 * longest, 2)
    for one, other in zip(answers[0][1], answers[1][1], strict=True):
        assert one + other == pytest.approx(2)


class OfTwoLoaders(Stranger):
    """Trains on the batches of two loaders together."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """There are two."""

    def loss(self, batch: Any) -> Tensor:
        return super().loss({name: torch.cat([leaf, batch["b"][name]]) for name, leaf in batch["a"].items()})

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.trained.append([int(batch[name]["id"][0]) for name in "ab"])
        return self.loss(batch)


def several_loaders(sizes: list[list[list[int]]], mode: str, unknown: bool) -> Any:
    """What two loaders trained together, or what was told; `sizes` are those of the batches by worker and loader."""
    loaders: dict[str, Any] = {
        name: loader_of_batches(mine, start=start)
        for name, mine, start in zip("ab", sizes[rank()], (100 * rank(), 100 * rank() + 50), strict=True)
    }
    if unknown:
        loaders = {name: OfUnknownLength(loader) for name, loader in loaders.items()}
    module = OfTwoLoaders()
    try:
        trainer_of(strategy_of(buffer_size=400)).fit(module, CombinedLoader(loaders, mode))  # type: ignore[arg-type]
    except ValueError as error:
        return str(error), len(module.trained)
    return module.trained


TWO = [4, 4]


class TestSeveralLoaders:
    @pytest.mark.parametrize("unknown", [False, True])
    @pytest.mark.parametrize("sizes", [[[TWO, [4]], [[4], [4]]], [[[4], TWO], [[4], [4]]]], ids=["first", "last"])
    def test_other_lengths_are_refused(self, two_workers: TwoWorkers, sizes: Any, unknown: bool) -> None:
        message = (
            "With several training loaders, each has to have as many batches on all workers, and one has not; "
            "make them equally long, or join them to one loader."
        )
        answers = two_workers.run(several_loaders, sizes, "max_size_cycle", unknown)
        assert answers == [(message, 0)] * 2

    @pytest.mark.parametrize("unknown", [False, True])
    @pytest.mark.parametrize(("mode", "wanted"), [("max_size_cycle", [[0, 50], [4, 50]]), ("min_size", [[0, 50]])])
    def test_loaders_of_a_worker_may_differ(
        self, two_workers: TwoWorkers, mode: str, wanted: list[list[int]], unknown: bool
    ) -> None:
        first, second = two_workers.run(several_loaders, [[TWO, [4]], [TWO, [4]]], mode, unknown)
        assert first == wanted
        assert second == [[100 + number for number in step] for step in wanted]


class Spoiled(Stranger):
    """Its loss of a repeated batch is told by how the forward pass ends."""

    def __init__(self, ending: str) -> None:
        super().__init__()
        self._ending = ending

    def loss(self, batch: Any) -> Tensor:
        loss, even = super().loss(batch), self.trainer.strategy._loader
        if self._ending == "as ever" or even is None or not even.is_repeating:
            return loss
        # The loss is not a number, or it is one of which the derivative is not.
        return loss * float("nan") if self._ending == "nan" else loss + (self.net[0].weight * 0).sum().sqrt()


def weights_after(ending: str, training: dict[str, Any]) -> list[Tensor]:
    module = Spoiled(ending)
    loader = loader_of_batches([[4, 4, 4, 4], [4]][rank()], start=100 * rank())
    trainer_of(strategy_of(buffer_size=400), **training).fit(module, loader)
    return module.weights


@pytest.mark.parametrize("training", [{}, {"accumulate_grad_batches": 3}], ids=str)
@pytest.mark.parametrize("ending", ["nan", "infinite slope"])
def test_a_repeated_batch_adds_nothing_even_if_its_loss_is_not_finite(
    two_workers: TwoWorkers, ending: str, training: dict[str, Any]
) -> None:
    (first, _), (wanted, _) = (two_workers.run(weights_after, end, training) for end in (ending, "as ever"))
    assert all(map(torch.equal, first, wanted))


def what_is_told_without_a_batch(unknown: tuple[int, ...]) -> str:
    try:
        trained_on([[], [4, 4]], {}, unknown)
    except ValueError as error:
        return str(error)
    return "nothing"


@pytest.mark.parametrize("unknown", [(), (0, 1)])
def test_a_worker_without_a_batch(two_workers: TwoWorkers, unknown: tuple[int, ...]) -> None:
    message = "Worker 0 has no training batch, and worker 1 has; give each of them at least one."
    assert two_workers.run(what_is_told_without_a_batch, unknown) == [message] * 2


def tasks_of_other_lengths() -> list[list[list[int]]]:
    """Three fits with one trainer and one buffer, of which only the second one has unequal epochs."""
    strategy, seen = strategy_of(buffer_size=400), []
    for sizes in ([[4, 4], [4, 4]], [[4], [4, 4, 4]], [[4, 2], [4, 3]]):
        module = Stranger()
        trainer = trainer_of(strategy)
        trainer.fit(module, loader_of_batches(sizes[rank()]))
        seen.append(module.incoming)
        strategy = strategy_of(buffer=strategy.memory)
    return seen


def test_lengths_may_change_between_fits(two_workers: TwoWorkers) -> None:
    first, second = two_workers.run(tasks_of_other_lengths)
    assert [list(map(len, task)) for task in first] == [[4, 4], [4, 4, 4], [4, 2]]
    assert [list(map(len, task)) for task in second] == [[4, 4], [4, 4, 4], [4, 3]]


class Reloading(Stranger):
    """Has another loader in each epoch, and so have others."""

    def train_dataloader(self) -> DataLoader[int]:
        epoch = self.trainer.current_epoch
        sizes = [[[4, 4], [4, 4]], [[4], [4, 4]], [[4, 4], [1]]][epoch]
        return loader_of_batches(sizes[rank()], start=100 * epoch)


def reloaded() -> tuple[list[list[int]], list[int]]:
    module, strategy = Reloading(), strategy_of(buffer_size=400)
    trainer_of(strategy, max_epochs=3, reload_dataloaders_every_n_epochs=1).fit(module)
    return module.incoming, stored(strategy)


def test_loaders_may_change_between_epochs(two_workers: TwoWorkers) -> None:
    (first, kept), (second, others) = two_workers.run(reloaded)
    assert list(map(len, first)) == [4, 4, 4, 4, 4, 4]
    assert list(map(len, second)) == [4, 4, 4, 4, 1, 1]
    assert kept == [*range(8), *range(100, 104), *range(200, 208)]
    assert others == [*range(8), *range(100, 108), 200]


def shuffled_by_lightning() -> tuple[list[list[int]], bool]:
    """A loader whose length is unequal, with a sampler that has to be told of each epoch."""
    module = Stranger()
    sampler = DistributedSampler(Numbers(range(12)), num_replicas=1, rank=0, shuffle=True)
    loader = DataLoader(sampler.dataset, batch_size=4 if rank() else 3, sampler=sampler, collate_fn=batch_of)
    trainer = trainer_of(strategy_of(), max_epochs=2)
    trainer.fit(module, loader)
    return module.incoming, isinstance(trainer.train_dataloader, EvenLoader)


def test_sampler_is_told_of_each_epoch(two_workers: TwoWorkers) -> None:
    (first, is_wrapped), (second, _) = two_workers.run(shuffled_by_lightning)
    assert is_wrapped
    for incoming, n_own in ((first, 4), (second, 3)):
        one, other = incoming[:n_own], incoming[4 : 4 + n_own]
        assert all(sorted(i for batch in epoch for i in batch) == list(range(12)) for epoch in (one, other))
        assert one != other


def test_what_was_fetched_ahead_in_an_epoch_that_was_cut_short_does_not_count() -> None:
    loader = EvenLoader([1], 3)
    assert list(islice(loader, 2)) == [1, 1] and loader.take() is False
    assert next(iter(loader)) == 1 and loader.take() is loader.take() is False


def test_a_loader_with_a_state_is_known_as_one_by_python_of_any_version() -> None:
    resumable = Resumable([[1], [2], [3]])
    loader = EvenLoader(resumable, 3)
    next(iter(loader))
    assert getattr_static(loader, "state_dict")() == {"next": 1}  # how protocols look for a method from 3.12 on
    getattr_static(loader, "load_state_dict")({"next": 2})
    assert len(list(loader)) == 1 + len(loader) - len(resumable)
    assert not hasattr(EvenLoader([1], 3), "state_dict")
