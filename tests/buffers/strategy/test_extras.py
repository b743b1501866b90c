"""T10: what a module hands in beside its samples comes back with the very samples that it belongs to."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from tests.buffers.strategy.plain_modules import (
    Resumable,
    Stranger,
    batch_of,
    loader_of,
    loader_of_batches,
    rank,
    strategy_of,
    trainer_of,
)
from tests.buffers.strategy.save_callbacks import SaveAt
from tests.buffers.strategy.test_gradients import ByHand, Graded, Step, check
from tests.workers import TwoWorkers


class Told(NamedTuple):
    """What was known of samples: their numbers (n,) and logits (n, C)."""

    ids: Tensor
    logits: Tensor


class Distilling(Stranger):
    """Remembers its logits, as DER does, and is told those of replayed samples."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.told: list[Told] = []
        self.came_back: list[Told] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        old = self.trainer.strategy.replayed_extras
        logits = self.net(batch["x"])
        n = len(logits) - len(old.get("logits", ()))
        self.trainer.strategy.add_extras(logits=logits[:n])
        self.told.append(Told(batch["id"][:n].clone(), logits[:n].detach().clone()))
        loss = super().training_step(batch, batch_idx)
        if old:
            self.came_back.append(Told(batch["id"][n:].clone(), old["logits"].clone()))
            loss = loss + (logits[n:] - old["logits"]).square().mean()
        return loss


def belong(answers: list[tuple[list[Told], list[Told]]]) -> bool:
    """Whether all logits that came back were told of the sample of that number, by any worker."""
    ids, logits = (torch.cat(parts) for parts in zip(*(one for told, _ in answers for one in told), strict=True))
    for one in (one for _, came_back in answers for one in came_back):
        for number, values in zip(one.ids, one.logits, strict=True):
            if not (logits[ids == number] == values).all(1).any():
                return False
    return True


def distilled(sizes: list[list[int]], epochs: int, options: dict[str, Any]) -> tuple[list[Told], list[Told]]:
    module, strategy = Distilling(), strategy_of(extras=("logits",), **options)
    loader = loader_of_batches(sizes[rank()], start=100 * rank())
    trainer_of(strategy, max_epochs=epochs).fit(module, loader)
    assert len(module.came_back) == len(module.told) - 1
    assert all(len(one.ids) == len(one.logits) for one in module.came_back)
    return module.told, module.came_back


@pytest.mark.usefixtures("accelerator")
def test_one_worker() -> None:
    assert belong([distilled([[4, 4, 4, 1]], 3, {"buffer_size": 9})])


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("sizes", [[[4, 4, 4, 1], [4, 4, 4, 3]], [[4, 2], [3, 4, 4, 4]]], ids=str)
def test_two_workers(two_workers: TwoWorkers, overlap: bool, sizes: list[list[int]]) -> None:
    answers = two_workers.run(distilled, sizes, 3, {"buffer_size": 12, "overlap": overlap})
    assert belong(answers)
    sources = [{int(i) // 100 for one in came_back for i in one.ids} for _, came_back in answers]
    assert sources == [{0, 1}, {0, 1}]


@pytest.mark.usefixtures("accelerator")
def test_resumed(tmp_path: Path) -> None:
    path, batches = tmp_path / "a.ckpt", [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    first, rest = Distilling(), Distilling(seed=4)
    trainer = trainer_of(strategy_of(extras=("logits",)), max_epochs=2, callbacks=[Save(path)])
    trainer.fit(first, Resumable(batches))
    trainer_of(strategy_of(extras=("logits",)), max_epochs=2).fit(rest, Resumable(batches), ckpt_path=path)
    assert rest.trained == first.trained[4:]
    assert all(torch.equal(a.logits, b.logits) for a, b in zip(rest.came_back, first.came_back[3:], strict=True))
    assert all(map(torch.equal, rest.weights, first.weights))


class Save(SaveAt):
    """Saves after four steps, without a look at what is stored."""

    def __init__(self, path: Path) -> None:
        super().__init__({4: path})

    def _save(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 4:
            trainer.save_checkpoint(self._paths[4])


class Remembering(Graded):
    def loss(self, batch: Any) -> Tensor:
        n = len(self.came[-1])
        self.trainer.strategy.add_extras(number=batch["id"][:n].float())
        return super().loss(batch)


class RememberingByHand(ByHand, Remembering):
    pass


def graded(kind: type[Graded], sizes: list[list[int]]) -> list[Step]:
    module = kind()
    loader = loader_of_batches(sizes[rank()], start=100 * rank())
    trainer_of(strategy_of(extras=("number",))).fit(module, loader)
    lengths = map(len, module.replayed)
    return [Step(*step) for step in zip(module.trained, lengths, module.before, module.gradients, strict=True)]


@pytest.mark.parametrize("kind", [Remembering, RememberingByHand])
@pytest.mark.parametrize("sizes", [[[1, 4, 2], [5, 4, 4]], [[2], [5, 4, 4]]], ids=str)
def test_gradient_is_that_of_the_union(two_workers: TwoWorkers, kind: type[Graded], sizes: list[list[int]]) -> None:
    check(two_workers.run(graded, kind, sizes), sizes)


class TestRefused:
    def test_nothing_remembered(self) -> None:
        message = r"^training_step has to hand in logits, losses with strategy\.add_extras\.$"
        with pytest.raises(ValueError, match=message):
            trainer_of(strategy_of(extras=("logits", "losses"))).fit(Stranger(), loader_of(range(8)))

    def test_forgotten_later(self) -> None:
        class Forgetful(Distilling):
            def training_step(self, batch: Any, batch_idx: int) -> Tensor:
                return Stranger.training_step(self, batch, 0) if batch_idx else super().training_step(batch, 0)

        with pytest.raises(ValueError, match=r"^training_step has to hand in logits with strategy\.add_extras\.$"):
            trainer_of(strategy_of(extras=("logits",))).fit(Forgetful(), loader_of(range(8)))

    @pytest.mark.parametrize(("extras", "told"), [(("logit",), r"\('logit',\)"), ((), r"\(\)")])
    def test_misnamed(self, extras: tuple[str, ...], told: str) -> None:
        message = (
            rf"^add_extras was given logits, but the strategy was made with extras={told}; give it the same names\.$"
        )
        with pytest.raises(ValueError, match=message):
            trainer_of(strategy_of(extras=extras)).fit(Distilling(), loader_of(range(8)))

    def test_of_all_samples_trained_on(self) -> None:
        class Generous(Stranger):
            def training_step(self, batch: Any, batch_idx: int) -> Tensor:
                self.trainer.strategy.add_extras(logits=self.net(batch["x"]))
                return super().training_step(batch, batch_idx)

        with pytest.raises(ValueError, match="one B") as raised:
            trainer_of(strategy_of(extras=("logits",))).fit(Generous(), loader_of(range(12)))
        assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("accelerator")
def test_nothing_is_kept_of_the_graph() -> None:
    strategy = strategy_of(extras=("logits",))
    trainer_of(strategy).fit(Distilling(), loader_of(range(12)))
    samples, more = strategy.memory.buffer.all()
    assert samples["x"].shape == batch_of(range(12))["x"].shape
    assert not more["logits"].requires_grad
