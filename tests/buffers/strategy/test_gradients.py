"""T17: the gradient is the one that a single process gets from all workers' samples together."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from tests.buffers.strategy.plain_modules import Stranger, batch_of, loader_of_batches, rank, strategy_of, trainer_of
from tests.workers import TwoWorkers


class Step(NamedTuple):
    """What a worker trained on in a step, and what came of it.

    Attributes:
        ids: Numbers of the samples.
        n_replayed: How many of them were drawn.
        weights: The parameters before.
        gradient: Their gradient after `backward`.
    """

    ids: list[int]
    n_replayed: int
    weights: list[Tensor]
    gradient: list[Tensor]


class Graded(Stranger):
    """Keeps the gradients."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.before: list[list[Tensor]] = []
        self.gradients: list[list[Tensor]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.before.append(self.weights)
        return super().training_step(batch, batch_idx)

    def on_after_backward(self) -> None:
        self.gradients.append([parameter.grad.clone() for parameter in self.parameters()])


class ByHand(Graded):
    """The same with manual optimisation."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss


def task_of(batch: Any) -> Tensor:
    """A hundred samples are a task."""
    return batch["id"] // 100  # type: ignore[no-any-return]


def graded(kind: type[Graded], sizes: list[list[int]], options: dict[str, Any], training: dict[str, Any]) -> list[Step]:
    """Train on batches of these sizes, given for each worker; those of worker w are samples of task w."""
    module = kind(seed=rank())  # DDP takes the weights of the first worker
    loader = loader_of_batches(sizes[rank()], start=100 * rank())
    trainer_of(strategy_of(replay=3, **options), **training).fit(module, loader)
    lengths = map(len, module.replayed)
    return [Step(*step) for step in zip(module.trained, lengths, module.before, module.gradients, strict=True)]


def gradient_of(ids: Sequence[int], weights: list[Tensor]) -> list[Tensor]:
    """The gradient of the mean loss of samples in one process."""
    module: LightningModule = Stranger()
    for parameter, weight in zip(module.parameters(), weights, strict=True):
        parameter.data.copy_(weight)
    module.loss(batch_of(ids)).backward()
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


def check(answers: list[list[Step]], sizes: list[list[int]]) -> None:
    """Whether each gradient is the one of all samples that came in or were drawn; repeated batches are left out."""
    for number, steps in enumerate(zip(*answers, strict=True)):
        union = [i for worker, step in enumerate(steps) if number < len(sizes[worker]) for i in step.ids]
        wanted = gradient_of(union, steps[0].weights)
        for step in steps:
            assert all(map(torch.equal, step.weights, steps[0].weights))
            assert all(map(torch.equal, step.gradient, steps[0].gradient))
            assert close(step.gradient, wanted), number


def close(found: list[Tensor], wanted: list[Tensor]) -> bool:
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([[4, 4, 4, 4], [4, 4, 4, 4]], id="equal"),
        pytest.param([[4, 4, 4, 1], [4, 4, 4, 3]], id="ragged last batch"),
        pytest.param([[1, 5, 2, 7], [6, 1, 4, 1]], id="ragged from the first step"),
        pytest.param([[4, 4, 2], [3, 4, 4, 4, 1]], id="unequal epochs"),
        pytest.param([[4, 4, 4, 2, 2], [1]], id="one batch against five"),
    ],
)
@pytest.mark.parametrize("kind", [Graded, ByHand])
@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.few(5)
def test_is_that_of_the_union(
    two_workers: TwoWorkers, kind: type[Graded], sizes: list[list[int]], overlap: bool
) -> None:
    answers = two_workers.run(graded, kind, sizes, {"overlap": overlap}, {})
    check(answers, sizes)
    assert all(step.n_replayed == 3 for steps in answers for step in steps[2:])


def test_is_that_of_the_union_if_workers_replay_different_numbers(two_workers: TwoWorkers) -> None:
    sizes = [[4, 4, 4, 4], [1, 2, 4, 4]]
    answers = two_workers.run(graded, Graded, sizes, {"sampler": "old_tasks", "tasks": task_of}, {})
    check(answers, sizes)
    # Each draws what the other one has, whose task is not its own; that is little at first.
    drawn = [[step.n_replayed for step in steps] for steps in answers]
    assert drawn[0] == [0, 1, 3, 3]
    assert drawn[1] == [0, 3, 3, 3]
    for worker, steps in enumerate(answers):
        assert {i // 100 for step in steps[1:] for i in step.ids[-step.n_replayed :]} == {1 - worker}


@pytest.mark.parametrize("sizes", [[[4, 1, 4, 2], [2, 4, 4, 4]], [[4, 4, 4], [4, 3, 1, 2]]])
def test_is_the_mean_over_accumulated_batches(two_workers: TwoWorkers, sizes: list[list[int]]) -> None:
    answers = two_workers.run(graded, Graded, sizes, {}, {"accumulate_grad_batches": 2})
    for first in (0, 2):
        parts = []
        for number in (first, first + 1):
            union = [i for w, steps in enumerate(answers) if number < len(sizes[w]) for i in steps[number].ids]
            parts.append(gradient_of(union, answers[0][first].weights))
        wanted = [(a + b) / 2 for a, b in zip(*parts, strict=True)]
        assert all(close(steps[first + 1].gradient, wanted) for steps in answers)


def test_clipping_sees_the_gradient_of_the_union(two_workers: TwoWorkers) -> None:
    sizes = [[4, 1, 4], [2, 4, 3]]
    answers = two_workers.run(graded, Graded, sizes, {}, {"gradient_clip_val": 0.01})
    check(answers, sizes)
    for now, then in zip(answers[0], answers[0][1:], strict=False):
        step = torch.cat([(b - a).flatten() for a, b in zip(now.weights, then.weights, strict=True)])
        assert torch.isclose(step.norm(), torch.tensor(0.1 * 0.01), rtol=1e-3)


def test_of_one_worker_is_that_of_its_samples() -> None:
    sizes = [[4, 1, 3, 4]]
    check([graded(Graded, sizes, {}, {})], sizes)
