"""Rehearsal where weights are sharded: workers that train on different samples share the buffer."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from tests.buffers.strategy.plain_modules import Resumable, loader_of_batches, strategy_of, trainer_of
from tests.buffers.strategy.save_callbacks import SaveAt, batches_of, names, slots
from tests.buffers.strategy.sharded_modules import (
    Sharded,
    fully_sharded,
    is_sharded,
    model_parallel,
    replica,
    whole_weights,
)
from tests.buffers.strategy.test_gradients import Step, check
from tests.workers import GlooWorkers, TwoWorkers

EQUAL = [[4, 4, 4, 4, 2], [4, 4, 4, 4, 3]]
RAGGED = [[1, 5, 2, 7], [6, 1, 4, 1]]
UNEQUAL = [[4, 4, 2], [3, 4, 4, 4, 1]]
KINDS: dict[str, Any] = {"ddp": strategy_of, "fsdp": fully_sharded, "model_parallel": model_parallel}


class Run(NamedTuple):
    """What a worker trained on, what it stored, and its weights in the end."""

    trained: list[list[int]]
    stored: list[int]
    weights: list[Tensor]


def same(one: Run, other: Run, steps: int = 0) -> bool:
    """Whether the second run did what the first one did after some steps, up to rounding."""
    weights = zip(one.weights, other.weights, strict=True)
    close = all(torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in weights)
    return close and (one.trained[steps:], one.stored) == (other.trained, other.stored)


def trained(kind: str, sizes: list[list[int]], options: dict[str, Any], replicas: int = 2) -> tuple[Run, list[Step]]:
    """Train on batches of these sizes, given for each replica; the second result is only true of whole gradients."""
    strategy, module, number = KINDS[kind](**options), Sharded(), replica(replicas)
    trainer_of(strategy).fit(module, loader_of_batches(sizes[number], start=100 * number))
    assert is_sharded(strategy.model) == (kind != "ddp")
    lengths = map(len, module.replayed)
    steps = [Step(*step) for step in zip(module.trained, lengths, module.before, module.gradients, strict=True)]
    return Run(module.trained, slots(strategy), whole_weights(strategy.model)), steps


@pytest.mark.parametrize("kind", ["model_parallel", "fsdp"])
@pytest.mark.parametrize("sizes", [EQUAL, RAGGED, UNEQUAL], ids=["equal", "ragged", "unequal epochs"])
@pytest.mark.few(2)
def test_same_draws_and_weights_as_without_shards(two_workers: TwoWorkers, kind: str, sizes: list[list[int]]) -> None:
    whole, parts = two_workers.run(trained, "ddp", sizes, {}), two_workers.run(trained, kind, sizes, {})
    assert all(same(one, other) for (one, _), (other, _) in zip(whole, parts, strict=True))
    if kind == "model_parallel":
        check([steps for _, steps in parts], sizes)


@pytest.mark.slow
def test_workers_of_a_replica_replay_the_same_rows(gloo_workers: GlooWorkers) -> None:
    whole = gloo_workers.run(2, trained, "ddp", RAGGED, {})
    parts = gloo_workers.run(4, trained, "model_parallel", RAGGED, {"tensor_parallel_size": 2})
    assert all(same(whole[worker // 2][0], run) for worker, (run, _) in enumerate(parts))
    assert any(i >= 100 for ids in parts[0][0].trained for i in ids)  # of the other replica


def test_one_replica_rehearses_alone(two_workers: TwoWorkers) -> None:
    options = {"data_parallel_size": 1, "tensor_parallel_size": 2}
    (one, _), (other, _) = two_workers.run(trained, "model_parallel", EQUAL[:1], options, 1)
    assert same(one, other)
    assert [len(ids) for ids in one.trained] == [4, 7, 7, 7, 5]


class Infinite(Sharded):
    """Has no finite loss after the first batch."""

    def loss(self, batch: Any) -> Tensor:
        return super().loss(batch) * (float("inf") if len(self.trained) > 1 else 1.0)


def repeats_an_infinite_loss() -> None:
    trainer_of(model_parallel()).fit(Infinite(), loader_of_batches([[4], [4, 4]][replica(2)]))


@pytest.mark.slow
def test_repeated_batch_without_a_finite_loss(two_workers: TwoWorkers) -> None:
    with pytest.raises(AssertionError, match=r"loss of a repeated batch is not finite.*give all workers"):
        two_workers.run(repeats_an_infinite_loss)


EPOCHS = 2


def saved(kind: str, path: Path, steps: tuple[int, ...], options: dict[str, Any]) -> Run:
    """A run that is saved under one name after some steps, and goes on."""
    strategy, module, number = KINDS[kind](**options), Sharded(), replica(2)
    trainer = trainer_of(strategy, max_epochs=EPOCHS, callbacks=[SaveAt(dict.fromkeys(steps, path))])
    trainer.fit(module, Resumable(batches_of(EQUAL, number)))
    return Run(module.trained, slots(strategy), whole_weights(strategy.model))


def resumed(kind: str, path: Path, options: dict[str, Any]) -> Run:
    """The rest of it, in a run that knows nothing but the checkpoint."""
    strategy, module, number = KINDS[kind](**{"seed": 9, **options}), Sharded(seed=7), replica(2)
    trainer_of(strategy, max_epochs=EPOCHS).fit(module, Resumable(batches_of(EQUAL, number)), ckpt_path=path)
    return Run(module.trained, slots(strategy), whole_weights(strategy.model))


@pytest.mark.parametrize(
    ("kind", "options", "is_folder"),
    [
        ("model_parallel", {}, True),
        ("model_parallel", {"save_distributed_checkpoint": False}, False),
        ("fsdp", {}, False),
        ("fsdp", {"state_dict_type": "sharded"}, True),
    ],
)
@pytest.mark.few(1)
def test_resuming(two_workers: TwoWorkers, tmp_path: Path, kind: str, options: dict[str, Any], is_folder: bool) -> None:
    path = tmp_path / "a.ckpt"
    whole = two_workers.run(saved, kind, path, (2, 7), options)
    assert path.is_dir() == is_folder
    assert names(tmp_path) == ["a.ckpt", "a.ckpt.rehearsal"]
    assert len(names(tmp_path / "a.ckpt.rehearsal")) == 1
    rest = two_workers.run(resumed, kind, path, options)
    assert all(same(one, other, 7) for one, other in zip(whole, rest, strict=True))


@pytest.mark.slow
def test_resuming_with_workers_of_a_replica(gloo_workers: GlooWorkers, tmp_path: Path) -> None:
    path, options = tmp_path / "a.ckpt", {"tensor_parallel_size": 2}
    whole = gloo_workers.run(4, saved, "model_parallel", path, (7,), options)
    rest = gloo_workers.run(4, resumed, "model_parallel", path, options)
    assert all(same(one, other, 7) for one, other in zip(whole, rest, strict=True))
    (folder,) = (tmp_path / "a.ckpt.rehearsal").iterdir()
    sizes = [(folder / f"shard_{worker}.bin").stat().st_size for worker in range(4)]
    assert [size > 0 for size in sizes] == [True, False, True, False]  # one replica writes its rows
    # The same rows serve two replicas of one worker each.
    rest = gloo_workers.run(2, resumed, "model_parallel", path, {})
    assert all(same(whole[2 * worker], run, 7) for worker, run in enumerate(rest))


def keeps_the_last(folder: Path) -> None:
    keep = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=1, monitor="step", mode="max")
    trainer = trainer_of(model_parallel(), callbacks=[keep], enable_checkpointing=True)
    trainer.fit(Sharded(), loader_of_batches(EQUAL[replica(2)], start=100 * replica(2)))


def test_older_checkpoints_are_removed(two_workers: TwoWorkers, tmp_path: Path) -> None:
    two_workers.run(keeps_the_last, tmp_path)
    assert names(tmp_path) == ["step=5.ckpt", "step=5.ckpt.rehearsal"]
    assert (tmp_path / "step=5.ckpt").is_dir()
