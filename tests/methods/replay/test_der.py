from dataclasses import dataclass, replace

import pytest
import torch
from torch.nn import functional as F

from redwood.core.errors import InvalidOptionError
from redwood.methods.replay.der import DER, DERpp, outputs_to_store
from tests.methods.helpers import augmented, batch_of, configured, filled, numbers
from tests.samples import N_TRAIN, numbered
from tests.small_runs import run_here, small_setting


@dataclass
class Watched(DER):
    """Notes what the network answers to each sample at the moment that it is offered to the buffer."""

    def configure(self, setting):
        super().configure(setting)
        self.offered, self.answers, self.drawn = [], [], []

    def add(self, step):
        with torch.no_grad():
            self.answers += self.network(step.incoming.x)
        self.offered += numbers(step.incoming.x)
        super().add(step)

    def augment(self, step):
        super().augment(step)
        if step.replayed is not None:
            self.drawn.append((self.arrivals()[step.replayed.slots].tolist(), step.replayed.rows))

    def arrivals(self):
        """As the how many-th sample each of those in the buffer came."""
        return self.buffer.n_seen - 1 - self.buffer.ages()

    def check(self, arrivals, rows):
        """Rows are what they were when they came."""
        assert numbers(rows["x"]) == [self.offered[arrival] for arrival in arrivals]
        assert rows["y"].tolist() == numbered().y[numbers(rows["x"])].tolist()
        torch.testing.assert_close(rows["logits"], torch.stack([self.answers[arrival] for arrival in arrivals]))


@pytest.fixture(scope="module", params=["continual", "class_incremental", "task_incremental"])
def watched(request):
    method = Watched(buffer_size=20, lr=0.02)
    run_here(small_setting(request.param, dataset=numbered(), batch_size=4, passes=3), method)
    return method


class TestStoredOutputs:
    """Check T10: they are f(x) at the time of insertion, for that very x."""

    def test_of_what_is_in_the_buffer(self, watched):
        rows, arrivals = watched.buffer.all(), watched.arrivals().tolist()
        assert watched.buffer.n_seen == len(watched.offered) > len(set(arrivals)) == 20  # slots have been overwritten
        watched.check(arrivals, rows)
        assert bool(torch.isfinite(rows["logits"]).all())
        now = watched.network(rows["x"]).detach()
        assert float((now - rows["logits"]).abs().amax(1).median()) > 1e-2  # the network has moved on since

    def test_of_what_was_drawn(self, watched):
        for arrivals, rows in watched.drawn:
            watched.check(arrivals, rows)
        assert len(watched.drawn) > 40

    def test_samples_are_offered_in_every_pass(self, watched):
        """What a network answered that has learned little of the task would be worth less."""
        assert sorted(watched.offered) == sorted([*range(N_TRAIN)] * 3)


class TestLoss:
    @pytest.mark.parametrize("alpha", [0.0, 0.5, 3.0])
    def test_it_is_equation_6(self, alpha):
        method = filled(configured(DER(buffer_size=20, alpha=alpha)))
        step = augmented(method, batch := batch_of(40, 56))
        loss, rows = method.loss(step), step.replayed.rows
        incoming, again = method.network(batch.x), method.network(rows["x"])
        distance = sum((a - b).square().sum() for a, b in zip(again, rows["logits"], strict=True)) / 160
        torch.testing.assert_close(loss, F.cross_entropy(incoming, batch.y) + alpha * distance)
        assert float(distance.detach()) > 0.01

    def test_labels_of_replayed_samples_do_not_matter(self):
        method = filled(configured(DER(buffer_size=20)))
        step = augmented(method, batch_of(40, 56))
        labels = step.batch.y.clone()
        labels[16:] = (labels[16:] + 1) % 10
        other = replace(step, batch=step.batch._replace(y=labels))
        assert torch.equal(method.loss(step), method.loss(other))

    def test_without_replayed_samples_it_is_the_cross_entropy(self):
        method, batch = configured(DER()), batch_of(0, 16)
        torch.testing.assert_close(
            method.loss(augmented(method, batch)), F.cross_entropy(method.network(batch.x), batch.y)
        )


def test_outputs_are_stored_in_their_own_precision():
    method = filled(configured(DER(buffer_size=20)))
    rows = method.buffer.all()
    assert rows["logits"].shape == (20, 10)
    assert (rows["x"].dtype, rows["logits"].dtype) == (torch.uint8, torch.float32)
    assert not rows["logits"].requires_grad


def test_options_out_of_range():
    with pytest.raises(InvalidOptionError, match=r"--alpha -1\.0 has to be at least 0"):
        DER(alpha=-1.0)


def test_outputs_of_mixed_precision_are_stored_in_full():
    assert outputs_to_store(torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True)).dtype == torch.float32
    assert outputs_to_store(torch.ones(2, 3, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("cls", [DER, DERpp])
def test_a_run_in_mixed_precision_stores_them_so(cls):
    method = cls(buffer_size=20)
    run_here(small_setting("class_incremental", passes=2), method, precision="bf16-mixed")
    assert method.buffer.all()["logits"].dtype == torch.float32
