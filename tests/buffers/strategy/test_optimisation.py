"""Lightning's ways to make a step work with any module."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.buffers.helpers import features_of
from tests.buffers.strategy.plain_modules import (
    BATCHES,
    Stranger,
    is_complete,
    loader_of,
    stored,
    strategy_of,
    trainer_of,
)

pytestmark = pytest.mark.usefixtures("accelerator")


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("bf16-mixed", torch.float32),
        ("bf16-true", torch.bfloat16),
        ("16-true", torch.float16),
        ("64-true", torch.float64),
    ],
)
def test_precision(precision: str, dtype: torch.dtype) -> None:
    features = features_of(torch.arange(18))  # in `training_step`, other dtypes are the default

    class Typed(Stranger):
        """Its samples are of the dtype of the loop."""

        def loss(self, batch: Any) -> Tensor:
            assert torch.equal(batch["x"].cpu(), features[batch["id"].cpu()].to(dtype))
            return nn.functional.cross_entropy(self.net(batch["x"]), batch["y"])

    module, strategy = Typed(), strategy_of()
    trainer_of(strategy, precision=precision).fit(module, loader_of(range(18)))
    assert is_complete(module)
    samples = strategy.memory.buffer.all()
    assert samples["x"].dtype == dtype
    assert torch.equal(samples["x"], features_of(samples["id"]).to(dtype))
    assert all(weight.isfinite().all() for weight in module.weights)


@pytest.mark.parametrize("accelerator", ["cpu"], indirect=True)
@pytest.mark.parametrize(("dynamic", "times"), [(None, 2), (True, 1)])
@pytest.mark.slow
def test_a_batch_that_grows_is_compiled_once_with_dynamic_shapes(dynamic: bool | None, times: int) -> None:
    torch.compiler.reset()
    module, compiled = Stranger(), []

    def backend(graph: nn.Module, _: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    module.net = torch.compile(module.net, backend=backend, dynamic=dynamic)
    trainer_of(strategy_of()).fit(module, loader_of(range(25), 5))
    torch.compiler.reset()
    assert len({len(ids) for ids in module.trained}) == 2
    assert len(compiled) == times


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.slow
def test_compiled_module(backend: str) -> None:
    torch.compiler.reset()
    plain, module, strategy = Stranger(), Stranger(), strategy_of()
    trainer_of(strategy_of()).fit(plain, loader_of(range(18)))
    trainer_of(strategy).fit(torch.compile(module, backend=backend), loader_of(range(18)))
    torch.compiler.reset()
    assert is_complete(module)
    assert module.trained == plain.trained
    assert all(map(torch.allclose, module.weights, plain.weights))
    assert stored(strategy) == list(range(18))


def test_manual_optimisation_with_several_steps_per_batch() -> None:
    class Twice(Stranger):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
            self.trained.append(batch["id"].tolist())
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.net[0], self.net[2])]

    module, strategy = Twice(), strategy_of()
    trainer_of(strategy).fit(module, loader_of(range(18)))
    assert is_complete(module)
    assert stored(strategy) == list(range(18))


class Lbfgs(Stranger):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, list[int]]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.calls.append((batch_idx, batch["id"].tolist()))
        return self.loss(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), max_iter=4)


def test_lbfgs_sees_one_batch_in_all_calls_of_a_step() -> None:
    module, strategy = Lbfgs(), strategy_of()
    trainer_of(strategy).fit(module, loader_of(range(18)))
    n_calls = Counter(batch_idx for batch_idx, _ in module.calls)
    assert set(n_calls) == set(range(5))
    assert max(n_calls.values()) > 1
    for batch_idx in n_calls:
        seen = [ids for number, ids in module.calls if number == batch_idx]
        assert all(ids == seen[0] for ids in seen)
        assert seen[0][: len(BATCHES[batch_idx])] == BATCHES[batch_idx]
        assert len(seen[0]) == len(BATCHES[batch_idx]) + (3 if batch_idx else 0)
    assert strategy.memory.profiler.steps == 5
    assert stored(strategy) == list(range(18))


def test_lbfgs_augments_replayed_samples_once() -> None:
    class Noisy(Lbfgs):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return {**batch, "noise": torch.rand(len(batch["id"]))}

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.calls.append((batch_idx, batch["noise"].tolist()))
            return self.loss(batch)

    module = Noisy()
    trainer_of(strategy_of()).fit(module, loader_of(range(18)))
    for batch_idx in range(5):
        seen = [noise for number, noise in module.calls if number == batch_idx]
        assert all(noise == seen[0] for noise in seen)
    assert len({noise for _, call in module.calls for noise in call}) == 18 + 4 * 3
