"""T9: the module trains on each batch of its loader once, in order, and only in training."""

from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from torch import Tensor

from tests.buffers.strategy.plain_modules import Stranger, loader_of, rank, stored, strategy_of, trainer_of
from tests.workers import TwoWorkers

REPLAY, BATCH = 3, 4


def chunks(ids: list[int]) -> list[list[int]]:
    return [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]


def shares(n: int) -> list[list[int]]:
    """The numbers of the samples of both workers."""
    return [list(range(n)), list(range(100, 100 + n))]


def check_steps(modules: list[tuple[list[list[int]], list[list[int]]]], batches: list[list[list[int]]]) -> None:
    """Whether workers saw their batches, and nothing drawn that had not come in before, nor twice in a step.

    Args:
        modules: What each worker had come in, and what was replayed, step by step.
        batches: What their loaders gave.
    """
    before: set[int] = set()
    for step in range(len(batches[0])):
        for worker, (incoming, replayed) in enumerate(modules):
            assert incoming[step] == batches[worker][step]
            assert len(replayed[step]) == min(REPLAY, len(before))
            assert set(replayed[step]) <= before
        before.update(number for worker in batches for number in worker[step])
    assert all(len(incoming) == len(batches[0]) for incoming, _ in modules)


def seen_of_tasks(sizes: list[int], epochs: int) -> list[tuple[list[list[int]], list[list[int]], list[int]]]:
    """What came in and was replayed, and what is stored, after each task."""
    memory, results = None, []
    for task, n in enumerate(sizes):
        ids = [1000 * task + number for number in shares(n)[rank()]]
        module, strategy = Stranger(), strategy_of(buffer_size=500, replay=REPLAY, buffer=memory)
        trainer_of(strategy, max_epochs=epochs).fit(module, loader_of(ids, BATCH))
        memory = strategy.memory
        results.append((module.incoming, module.replayed, stored(strategy)))
    return results


@pytest.mark.parametrize(("sizes", "epochs"), [([8, 13], 1), ([9, 4, 12], 2)])
def test_tasks_on_two_workers(two_workers: TwoWorkers, sizes: list[int], epochs: int) -> None:
    answers = two_workers.run(seen_of_tasks, sizes, epochs)
    modules = [(_joined(answer, 0), _joined(answer, 1)) for answer in answers]
    numbers = [[[1000 * task + i for i in shares(n)[worker]] for task, n in enumerate(sizes)] for worker in range(2)]
    check_steps(modules, [[batch for ids in worker for batch in epochs * chunks(ids)] for worker in numbers])
    for worker, answer in enumerate(answers):
        assert answer[-1][2] == sorted(i for ids in numbers[worker] for i in epochs * ids)


def _joined(answer: list[tuple[Any, ...]], index: int) -> list[list[int]]:
    return [step for task in answer for step in task[index]]


class Evaluated(Stranger):
    """Also notes what it is evaluated on."""

    def __init__(self) -> None:
        super().__init__()
        self.evaluated: list[list[int]] = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.evaluated.append(batch["id"].tolist())

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.evaluated.append(batch["id"].tolist())

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return batch["id"]  # type: ignore[no-any-return]


def evaluated_in_between() -> tuple[Any, ...]:
    n, first = 22, 100 * rank()
    module, strategy = Evaluated(), strategy_of(buffer_size=200, replay=REPLAY)
    held_out = loader_of(range(500 + first, 506 + first), BATCH)
    trainer = trainer_of(strategy, max_epochs=2, val_check_interval=2, num_sanity_val_steps=1)
    trainer.fit(module, loader_of(range(first, first + n), BATCH), held_out)
    n_stored, validated = len(strategy.memory.buffer), module.evaluated
    module.evaluated = []
    trainer.validate(module, held_out, verbose=False)
    trainer.test(module, held_out, verbose=False)
    predicted = [ids.tolist() for ids in trainer.predict(module, held_out)]
    assert len(strategy.memory.buffer) == n_stored
    return module.incoming, module.replayed, stored(strategy), validated, module.evaluated, predicted


def check_evaluated(answers: list[tuple[Any, ...]]) -> None:
    ids = [list(range(100 * worker, 100 * worker + 22)) for worker in range(len(answers))]
    check_steps([answer[:2] for answer in answers], [2 * chunks(numbers) for numbers in ids])
    for worker, (*_, kept, validated, evaluated, predicted) in enumerate(answers):
        held_out = chunks(list(range(500 + 100 * worker, 506 + 100 * worker)))
        assert kept == sorted(2 * ids[worker])
        assert validated == held_out[:1] + 6 * held_out
        assert evaluated == 2 * held_out
        assert predicted == held_out


def test_evaluation_in_between_on_two_workers(two_workers: TwoWorkers) -> None:
    check_evaluated(two_workers.run(evaluated_in_between))


class Witness(Callback):
    """Notes the batches that callbacks see, and where they lie in memory."""

    def __init__(self) -> None:
        self.starts: list[list[int]] = []
        self.ends: list[list[int]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.starts.append(batch["id"].tolist())

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.ends.append(batch["id"].tolist())


class EndWitness(Stranger):
    def __init__(self) -> None:
        super().__init__()
        self.went: list[list[int]] = []

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.went.append(batch["id"].tolist())


def test_hooks_and_callbacks_see_the_batch_as_it_came() -> None:
    witness, module = Witness(), EndWitness()
    trainer_of(strategy_of(), callbacks=[witness]).fit(module, loader_of(range(10), BATCH))
    assert witness.starts == witness.ends == module.came == module.went == chunks(list(range(10)))
    assert any(module.replayed)


def test_means_over_an_epoch_count_the_samples_of_the_loader() -> None:
    class Logging(Stranger):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.log("first", batch["id"][0].float(), on_epoch=True, on_step=False)
            return super().training_step(batch, batch_idx)

    trainer = trainer_of(strategy_of())
    trainer.fit(Logging(), loader_of(range(6), BATCH))
    # Batches of 4 and 2 samples, though more are trained on.
    assert torch.isclose(trainer.callback_metrics["first"], torch.tensor((0 * 4 + 4 * 2) / 6))
