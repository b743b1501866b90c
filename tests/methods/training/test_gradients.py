"""Gradients that are clipped, and gradients of several batches that make one step."""

import csv
import os
import signal
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch

from redwood.branches.osaka.maml import MAML
from redwood.core.errors import InvalidOptionError
from redwood.engine.signals import Stopped, stop_signals
from redwood.methods.baselines import Finetune
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training import callbacks
from redwood.methods.training.recipe import ClipNorm, ClipValue
from tests.methods.helpers import one_sentence
from tests.samples import few_digits
from tests.small_runs import comparable, run_here, small_setting

DATA = few_digits(n_train=96)  # three tasks whose sizes batches need not divide


@dataclass
class Moving(Finetune):
    """Fine-tuning that notes the weights after each batch."""

    def __post_init__(self):
        super().__post_init__()
        self.weights = []

    def on_batch_end(self, step, loss, batch_idx):
        super().on_batch_end(step, loss, batch_idx)
        self.weights.append(torch.cat([p.detach().flatten() for p in self.network.parameters()]))


def moves(method, **options):
    run_here(small_setting("class_incremental", **{"passes": 1} | options), method)
    return [after - before for before, after in pairwise(method.weights)]


class TestClipping:
    def test_by_norm(self):
        free, limit = [move.norm() for move in moves(Moving(lr=0.1))], 0.1
        assert max(free) > 0.1 * limit
        clipped = [move.norm() for move in moves(Moving(lr=0.1, clipping=ClipNorm(limit)))]
        assert max(clipped) == pytest.approx(0.1 * limit, rel=1e-3)

    def test_by_value(self):
        limit = 0.001
        clipped = [move.abs().max() for move in moves(Moving(lr=1.0, clipping=ClipValue(limit)))]
        assert max(clipped) == pytest.approx(limit, rel=1e-3)
        assert max(move.abs().max() for move in moves(Moving(lr=1.0))) > 2 * limit

    @pytest.mark.parametrize("clipping", [ClipNorm(0.1), ClipValue(0.1)], ids=str)
    def test_steps_without_gradients(self, clipping):
        """In the stream, maml moves its fast weights alone."""
        method = MAML(lr=0.1, clipping=clipping)
        run_here(small_setting("osaka"), method)
        assert method.fast

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"clipping": {"norm": {"clip_norm": -1.0}}}, "--clip_norm -1.0 has to be greater than 0"),
            (
                {"clipping": {"value": {"clip_value": float("nan")}}},
                "--clip_value nan has to be a finite number",
            ),
            ({"accumulate_grad_batches": 0}, "--accumulate_grad_batches 0 has to be at least 1"),
            ({"accumulate_grad_batches": 1.5}, "--accumulate_grad_batches has to be of type int"),
        ],
    )
    def test_refusal(self, options, message):
        with pytest.raises(InvalidOptionError, match=message) as error:
            Finetune(**options)
        assert one_sentence(error.value)


def after(batch_size, **options):
    """The weights at the end: one phase of 96 samples, three passes."""
    method = Moving(lr=0.1, **options)
    run_here(small_setting("cumulative", dataset=DATA, nb_tasks=1, passes=3, batch_size=batch_size), method)
    return method


class TestAccumulation:
    def test_some_batches_make_the_step_of_a_large_one(self):
        large, small = after(24), after(8, accumulate_grad_batches=3)
        assert torch.allclose(large.weights[-1], small.weights[-1], atol=1e-5)
        moved = [not torch.equal(*pair) for pair in pairwise(small.weights)]
        assert moved == [number % 3 == 2 for number in range(1, 36)]

    def test_the_last_batches_of_a_pass_make_a_step_too(self):
        moved = [not torch.equal(*pair) for pair in pairwise(after(16, accumulate_grad_batches=4).weights)]
        assert moved == [number % 6 in (3, 5) for number in range(1, 18)]

    def test_the_buffer_takes_in_every_batch_and_each_is_scored(self):
        stored, scored = [], []
        for number in (1, 3):
            method = Rehearsal(buffer_size=20, accumulate_grad_batches=number)
            results = run_here(small_setting("class_incremental", passes=2), method)
            stored.append(method.buffer.all()["x"])
            scored.append(results.online_curve[-1][0])
        assert torch.equal(*stored)
        assert scored[0] == scored[1]

    def test_each_step_is_logged_once_with_the_whole_loss(self, tmp_path, monkeypatch):
        monkeypatch.setattr(callbacks, "LOG_EVERY", 1)
        rows = []
        for number in (1, 2):
            setting = small_setting("cumulative", nb_tasks=1, passes=1, dataset=DATA, batch_size=8)
            folder = tmp_path / str(number)
            run_here(setting, Finetune(lr=1e-9, accumulate_grad_batches=number), run_dir=str(folder))
            with (folder / "metrics.csv").open(newline="") as file:
                rows.append([(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file) if row["loss"]])
        assert [step for step, _ in rows[0]] == list(range(1, 13))
        assert [step for step, _ in rows[1]] == list(range(1, 7))
        # Weights hardly move: each step has the loss of its last batch.
        assert [loss for _, loss in rows[1]] == pytest.approx([loss for _, loss in rows[0]][1::2], rel=1e-4)

    def test_workers_agree(self, two_workers):
        first, second = two_workers.run(weights_of_a_worker)
        assert torch.equal(first, second)


def weights_of_a_worker():
    method = Moving(accumulate_grad_batches=2, clipping=ClipNorm(0.5))
    run_here(small_setting("class_incremental", workers=2, batch_size=8, passes=2), method)
    return method.weights[-1]


@dataclass
class Signalled(Rehearsal):
    """Gets a signal while it trains on the batch of this number, if any."""

    buffer_size: int = 20  # samples that the buffer holds, over all workers
    accumulate_grad_batches: int = 3  # batches whose mean gradient makes one step of the optimizer

    def __post_init__(self):
        super().__post_init__()
        self.signal_at, self.n_batches = -1, 0

    def after_loss(self, step):
        super().after_loss(step)
        self.n_batches += 1
        if self.n_batches == self.signal_at:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 8])
@pytest.mark.few(2)
def test_a_signal_in_the_middle_of_a_step(number, tmp_path):
    """The run is saved once the step is made, and resumed to the same results."""
    setting = small_setting("class_incremental", batch_size=6, passes=3)
    expected = run_here(setting, whole := Signalled())
    stopped = Signalled()
    stopped.signal_at = number
    with pytest.raises(Stopped), stop_signals():
        run_here(setting, stopped, run_dir=str(tmp_path / "run"), checkpoint_every=1000)
    assert stopped.n_batches == -(-number // 3) * 3
    results = run_here(setting, resumed := Signalled(), run_dir=str(tmp_path / "run"), resume=True)
    assert comparable(results) == comparable(expected)
    assert all(map(torch.equal, whole.network.parameters(), resumed.network.parameters()))
