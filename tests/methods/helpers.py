"""Methods as they are before their first task, and batches to hand to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from redwood.core.errors import RedwoodError
from redwood.engine.run import Run
from redwood.methods.lightning import LightningMethod
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.step import Step
from redwood.settings.batch import Batch
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting

M = TypeVar("M", bound=LightningMethod)
B = TypeVar("B", bound=Rehearsal)


def configured(method: M, key: str = "class_incremental", **options: object) -> M:
    """A method as it is before its first task, always with the same weights."""
    torch.manual_seed(0)
    method.attach(Run(accelerator="cpu"))
    method.configure(small_setting(key, **options).for_method())
    return method


def batch_of(start: int, stop: int, classes: tuple[int, ...] = tuple(range(10))) -> Batch:
    """Those digits of a range that are of some classes, all of task 0."""
    data = few_digits()
    rows = torch.arange(start, stop)
    rows = rows[torch.isin(data.y[rows], torch.tensor(classes))]
    return Batch(data.x[rows], data.y[rows], torch.zeros(len(rows), dtype=torch.long))


def step_of(batch: Batch, *, first_pass: bool = True) -> Step:
    """The training step that `batch` begins."""
    return Step(incoming=batch, on_host=batch, first_pass=first_pass, batch=batch)


def augmented(method: LightningMethod, batch: Batch) -> Step:
    """The training step that `batch` begins, with the samples that the method joins to it."""
    step = step_of(batch)
    method.augment(step)
    return step


def filled(method: B, n: int = 32) -> B:
    """A method whose buffer was offered `n` digits, in batches of 16; its weights are not trained, but changed."""
    for start in range(0, n, 16):
        step = augmented(method, batch_of(start, start + 16))
        method.loss(step)
        method.after_loss(step)
    move(method)
    return method


def move(method: LightningMethod) -> None:
    """Change the weights, as training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in method.network.parameters():
            weights.add_(0.05 * torch.randn(weights.shape, generator=generator))


def weights_of(method: LightningMethod) -> list[Tensor]:
    """Copies of the weights."""
    return [weights.detach().clone() for weights in method.network.parameters()]


def trained(method: LightningMethod) -> list[Tensor]:
    """The weights of a method after a small class-incremental run."""
    run_here(small_setting("class_incremental"), method)
    return weights_of(method)


def numbers(x: Tensor) -> list[int]:
    """Which samples of `numbered()` these are."""
    return [int(value) for value in x[:, 0]]


@contextmanager
def refused(match: str, error: type[RedwoodError] = RedwoodError) -> Iterator[None]:
    """The body raises this error, whose one sentence matches."""
    with pytest.raises(error, match=match) as raised:
        yield
    assert one_sentence(raised.value)


def one_sentence(error: BaseException | str) -> bool:
    """Whether an error is what a user can be shown."""
    text = str(error)
    return "\n" not in text and text.endswith(".") and text.count(". ") == 0
