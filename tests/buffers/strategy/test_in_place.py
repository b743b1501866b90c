"""What a module, or a callback, does to its batch changes nothing of what is stored."""

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from pytorch_lightning import Callback
from torch import Tensor

from redwood.buffers import AsyncRehearsalBuffer
from redwood.buffers.distributed.pipeline import Pipeline
from redwood.buffers.shared.keeper import start_of
from redwood.buffers.shared.rows import SharedRows
from tests.buffers.shared.helpers import QuietOwner
from tests.buffers.strategy.plain_modules import N_CLASSES, Stranger, loader_of, rank, stored, strategy_of, trainer_of
from tests.buffers.strategy.test_determinism import Outcome, same
from tests.workers import TwoWorkers

WAIT_S = 10


class Gates:
    """Hold the background of each step back until its batch has been changed."""

    def __init__(self) -> None:
        self.begin_step()

    def begin_step(self) -> None:
        """Close the gate of the decisions and that of the rows."""
        self.decisions, self.rows = threading.Event(), threading.Event()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold back all buffers."""
        prepare, decide, transfer_job = Pipeline.prepare, Pipeline._decide, Pipeline._transfer_job

        def prepared(pipeline: Any, request: Any, *args: Any) -> Any:
            request.gate = self.decisions
            return prepare(pipeline, request, *args)

        def late_decision(pipeline: Any, request: Any, *args: Any) -> Any:
            return _behind(request.gate, lambda: decide(pipeline, request, *args))

        def late_rows(*args: Any) -> Any:
            work, gate = transfer_job(*args), self.rows
            return lambda: _behind(gate, work)

        with (
            mock.patch.object(Pipeline, "prepare", prepared),
            mock.patch.object(Pipeline, "_decide", late_decision),
            mock.patch.object(Pipeline, "_transfer_job", late_rows),
        ):
            yield


def _behind(gate: threading.Event, work: Callable[[], Any]) -> Any:
    if threading.current_thread().name == "rehearsal":
        assert gate.wait(WAIT_S)
    return work()


def spoil(batch: Any) -> None:
    for leaf in batch.values():
        leaf.mul_(7).add_(1)


class Spoiling(Stranger):
    """Changes its batch in place once it needs it no more, the leaves that it has handed in as well."""

    def __init__(self, gates: Gates, *, spoils: bool, hook: bool, extras: bool) -> None:
        super().__init__()
        self._gates, self._spoils, self._has_extras = gates, spoils, extras
        self._factor = 2 if hook else 1
        if hook:  # its own batch is twice the one that is stored
            self.on_after_batch_transfer = self._doubled  # type: ignore[method-assign]

    def _doubled(self, batch: Any, dataloader_idx: int) -> Any:
        batch["x"].mul_(self._factor)
        return batch

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.trained.append(batch["id"].tolist())
        copies = {name: leaf.clone() for name, leaf in batch.items()}
        loss = self.loss({**copies, "x": copies["x"] / self._factor})
        if self._has_extras:
            loss = loss + self._distilled(batch)
        if self._spoils:
            spoil(batch)
        self._gates.decisions.set()
        return loss

    def _distilled(self, batch: Any) -> Tensor:
        strategy: Any = self.trainer.strategy
        old = strategy.replayed_extras.get("tenfold")
        n = len(batch["id"]) - (0 if old is None else len(old))
        assert old is None or torch.equal(old, 10.0 * batch["id"][n:])
        handed_in = 10.0 * batch["id"][:n]
        strategy.add_extras(tenfold=handed_in)
        if self._spoils:
            handed_in.zero_()
        return torch.zeros(()) if old is None else self.net[0].weight.sum() * old.mean() / 1e4


class SpoilingCallback(Callback):
    """Changes the incoming batch in place once the step is over, and opens the gates."""

    def __init__(self, gates: Gates, *, spoils: bool) -> None:
        self._gates, self._spoils = gates, spoils

    def on_train_batch_start(self, *args: Any) -> None:
        self._gates.begin_step()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._spoils:
            spoil(batch)
        self._gates.rows.set()


def rows_of_this_process(directory: str) -> SharedRows:
    world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    return SharedRows(QuietOwner(os.getpid(), str(start_of(os.getpid()))), rank(), world, directory)


def outcome(options: dict[str, Any], hook: bool, *, spoils: bool) -> Outcome:
    """Train two passes, while the background is held back where there is one; the rows have to be those that came."""
    gates, extras = Gates(), bool(options.get("extras"))
    module = Spoiling(gates, spoils=spoils, hook=hook, extras=extras)
    strategy = strategy_of(**{"buffer_size": 30, "replay": 4, **options})
    with gates.held(), mock.patch.object(SharedRows, "of_this_worker", rows_of_this_process):
        trainer = trainer_of(strategy, max_epochs=2, callbacks=[SpoilingCallback(gates, spoils=spoils)])
        trainer.fit(module, loader_of(range(100 * rank(), 100 * rank() + 18)))
    if not extras:
        return Outcome(module.trained, stored(strategy), module.weights)
    samples, more = strategy.memory.buffer.all()
    assert torch.equal(more["tenfold"], 10.0 * samples["id"])
    assert torch.equal(samples["y"], samples["id"] % N_CLASSES)
    return Outcome(module.trained, sorted(samples["id"].tolist()), module.weights)


TIERS = ("host", "mmap", "shared")
CASES: list[dict[str, Any]] = [
    {},
    {"sampler": "old_tasks", "tasks": None},
    {"policy": "class_balanced", "sampler": "class_balanced"},
    {"extras": ("tenfold",)},
]


def task_of(batch: Any) -> Tensor:
    """Each pass is half of one task and half of another."""
    task: Tensor = batch["id"] % 100 // 9
    return task


@pytest.mark.parametrize("hook", [False, True], ids=["plain", "hook"])
@pytest.mark.parametrize("options", CASES, ids=lambda options: "-".join(map(str, options.values())) or "uniform")
@pytest.mark.few(2)
def test_two_workers(two_workers: TwoWorkers, options: dict[str, Any], hook: bool, tmp_path: Path) -> None:
    if "tasks" in options:
        options = {**options, "tasks": task_of}
    wanted = two_workers.run(job, {**options, "overlap": False}, hook, False)
    for tier, overlap in [*itertools.product(TIERS, (True,)), ("host", False)]:
        directory = {} if tier == "host" else {"directory": str(tmp_path)}
        found = two_workers.run(job, {**options, **directory, "tier": tier, "overlap": overlap}, hook, True)
        assert all(map(same, wanted, found)), (tier, overlap)


def job(options: dict[str, Any], hook: bool, spoils: bool) -> Outcome:
    return outcome(options, hook, spoils=spoils)


@pytest.mark.parametrize("options", [{}, {"extras": ("tenfold",)}], ids=["rows", "extras"])
def test_one_worker(options: dict[str, Any]) -> None:
    assert same(outcome(options, hook=False, spoils=True), outcome(options, hook=False, spoils=False))


@pytest.mark.parametrize("options", [{}, {"extras": ("tenfold",)}], ids=["rows", "extras"])
def test_rows_that_are_taken_from_the_gpu(options: dict[str, Any]) -> None:
    """Where rows lie on the GPU, they are taken from the batch that was moved there, and that the module gets."""
    wanted, prepare = outcome(options, hook=False, spoils=False), AsyncRehearsalBuffer.prepare

    def as_on_gpu(memory: Any, *args: Any) -> None:
        prepare(memory, *args)
        memory.on_gpu = True

    with mock.patch.object(AsyncRehearsalBuffer, "prepare", as_on_gpu):
        assert same(outcome(options, hook=False, spoils=True), wanted)


def test_what_a_callback_changes_before_the_step() -> None:
    class Early(Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            spoil(batch)

    class Blind(Stranger):
        def loss(self, batch: Any) -> Tensor:
            return self.net(batch["x"]).square().mean()  # type: ignore[no-any-return]

    strategy = strategy_of()
    trainer_of(strategy, callbacks=[Early()]).fit(Blind(), loader_of(range(18)))
    assert stored(strategy) == list(range(18))
