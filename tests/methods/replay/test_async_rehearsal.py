"""What a method trains on and keeps when it draws from all workers' buffers, one step ahead."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from redwood.core.errors import InvalidOptionError
from redwood.engine.run import Run
from redwood.methods.baselines import Finetune
from redwood.methods.replay.agem import AGEM
from redwood.methods.replay.async_rehearsal import AsyncRehearsal
from redwood.methods.replay.der import DER, DERpp
from redwood.methods.replay.er_ace import ERACE
from redwood.methods.replay.mir import MIR
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings import ClassSplit
from tests.methods.helpers import configured, numbers, one_sentence, weights_of
from tests.samples import N_TRAIN, numbered
from tests.small_runs import comparable, run_here, small_setting

BATCH = 4


@dataclass
class Watched(AsyncRehearsal):
    """Notes what comes in, what is replayed with it, and what is stored afterwards."""

    def configure(self, setting):
        super().configure(setting)
        self.seen, self.stored = [], [set()]

    def augment(self, step):
        super().augment(step)
        incoming, augmented, n = step.incoming, step.batch, step.n_incoming
        assert numbers(augmented.x[:n]) == numbers(incoming.x)
        self.seen.append((numbers(incoming.x), numbers(augmented.x[n:]), augmented))

    def after_loss(self, step):
        super().after_loss(step)
        self.replay.memory.flush()
        self.stored.append(set(numbers(self.buffer.all()["x"])))


def rehearse(method, key="class_incremental", **options):
    options = {"dataset": numbered(), "batch_size": BATCH, "passes": 3} | options
    results = run_here(small_setting(key, **options), method)
    return method, results


@pytest.mark.parametrize("key", ["continual", "class_incremental", "task_incremental"])
class TestOneWorker:
    def test_a_batch_is_followed_by_samples_that_were_stored_in_the_step_before(self, key):
        method, _ = rehearse(Watched(buffer_size=20, replay_ratio=2), key)
        for (_, drawn, _), before in zip(method.seen, method.stored, strict=False):
            assert len(drawn) == len(set(drawn)) == min(2 * BATCH, len(before))
            assert set(drawn) <= before

    def test_labels_and_ids_stay_with_their_samples(self, key):
        method, _ = rehearse(Watched(buffer_size=20, replay_ratio=2), key)
        shown: dict[int, int] = {}
        for incoming, drawn, augmented in method.seen:
            assert augmented.y.tolist() == numbered().y[incoming + drawn].tolist()
            assert (augmented.task_id is None) == (key == "continual")
            if augmented.task_id is not None:
                shown |= dict(zip(incoming, augmented.task_id.tolist(), strict=False))
                assert augmented.task_id.tolist() == [shown[number] for number in incoming + drawn]

    def test_samples_are_offered_in_the_first_pass_only(self, key):
        method, _ = rehearse(Watched(buffer_size=20), key)
        assert method.buffer.n_seen == N_TRAIN
        assert len(set(numbers(method.buffer.all()["x"]))) == 20

    @pytest.mark.few(1)
    def test_outcome_follows_from_the_seed(self, key):
        order: dict[str, Any] = {} if key == "continual" else {"stream": ClassSplit(class_order=range(6))}
        runs = [rehearse(Watched(buffer_size=20), key, seed=seed, **order) for seed in (3, 3, 4)]
        seen = [[step[:2] for step in method.seen] for method, _ in runs]
        assert seen[0] == seen[1] != seen[2]
        assert comparable(runs[0][1]) == comparable(runs[1][1])
        assert all(map(torch.equal, weights_of(runs[0][0]), weights_of(runs[1][0])))


def test_it_is_rehearsal_with_the_option_on():
    plain, named = (method(buffer_size=20) for method in (Rehearsal, AsyncRehearsal))
    assert (plain.asynchronous, named.asynchronous) == (False, True)
    option = Rehearsal(buffer_size=20, asynchronous=True)
    rehearse(option)
    rehearse(named)
    assert all(map(torch.equal, weights_of(option), weights_of(named)))


class Offered:
    """Notes what the network answers to each sample when it comes in, and what is drawn."""

    def configure(self, setting):
        super().configure(setting)
        self.offered: list[int] = []
        self.answers: list[Tensor] = []
        self.drawn: list[dict[str, Tensor]] = []

        draw = self.replay.draw

        def noting(step, number=0):
            replayed = draw(step, number)
            if replayed is not None:
                self.drawn.append({name: leaf.clone() for name, leaf in replayed.rows.items()})
            return replayed

        self.replay.draw = noting

    def after_loss(self, step):
        super().after_loss(step)
        with torch.no_grad():
            self.answers += self.network(step.incoming.x)
        self.offered += numbers(step.incoming.x)


@dataclass
class OfferedDER(Offered, DER):
    """Draws once a step."""


@dataclass
class OfferedDERpp(Offered, DERpp):
    """Draws twice a step."""


@pytest.mark.parametrize("kind", [OfferedDER, OfferedDERpp])
class TestStoredOutputs:
    """Check T10: they are f(x) at the time of insertion, for that very x."""

    @pytest.fixture
    def method(self, kind):
        return rehearse(kind(buffer_size=20, lr=0.02, asynchronous=True))[0]

    def test_samples_are_offered_in_every_pass(self, method):
        assert method.buffer.n_seen == 3 * N_TRAIN
        assert sorted(method.offered) == sorted([*range(N_TRAIN)] * 3)

    def test_of_what_is_in_the_buffer(self, method):
        arrivals = (method.buffer.n_seen - 1 - method.buffer.ages()).tolist()
        rows = method.buffer.all()
        assert numbers(rows["x"]) == [method.offered[arrival] for arrival in arrivals]
        torch.testing.assert_close(rows["logits"], torch.stack([method.answers[arrival] for arrival in arrivals]))
        assert not torch.allclose(rows["logits"], method.network(rows["x"]), atol=1e-2)

    def test_of_what_was_drawn(self, method):
        answers: dict[int, list[Tensor]] = {}
        for number, answer in zip(method.offered, method.answers, strict=True):
            answers.setdefault(number, []).append(answer)
        assert len(method.drawn) > 40
        for rows in method.drawn:
            assert rows["y"].tolist() == numbered().y[numbers(rows["x"])].tolist()
            for number, logits in zip(numbers(rows["x"]), rows["logits"], strict=True):
                assert any(torch.allclose(logits, answer, atol=1e-5) for answer in answers[number])


def test_the_two_draws_of_a_step_have_no_row_in_common():
    """They are one draw without replacement, dealt out in turn; a sample may be stored once for each pass."""
    method, _ = rehearse(OfferedDERpp(buffer_size=20, asynchronous=True), passes=1)
    pairs = list(zip(method.drawn[::2], method.drawn[1::2], strict=True))
    assert len(pairs) > 10
    for first, second in pairs:
        assert not set(numbers(first["x"])) & set(numbers(second["x"]))
        assert 0 <= len(first["y"]) - len(second["y"]) <= 1
    assert [len(first["y"]) for first, _ in pairs[-5:]] == [BATCH] * 5


@pytest.mark.parametrize("kind", [Rehearsal, ERACE, DER, DERpp, AGEM])
def test_methods_of_the_family_replay(kind):
    method, results = rehearse(kind(buffer_size=20, asynchronous=True))
    free = Finetune()
    rehearse(free)
    assert results.cost.rehearsal["replayed"] > 0.8 * kind.draws * BATCH
    assert results.cost.rehearsal["stored"] == [20]
    assert not all(map(torch.equal, weights_of(method), weights_of(free)))


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"replay_ratio": 0}, "--async has nothing to draw with --replay_ratio 0"),
            ({"buffer_bytes": 1000}, "give --buffer_size, not --buffer_bytes"),
            ({"buffer_policy": "loss_aware"}, "--buffer_policy loss_aware does not go with --async: .* losses"),
            ({"buffer_policy": "herding"}, "--buffer_policy herding does not go with --async: .* features"),
            ({"buffer_sampler": "mir"}, "--buffer_sampler mir does not go with --async"),
            ({"buffer_sampler": "grasp"}, "--buffer_sampler grasp does not go with --async"),
        ],
    )
    @pytest.mark.parametrize("kind", [Rehearsal, DERpp])
    def test_options_that_samples_cannot_be_drawn_ahead_with(self, kind, options, sentence):
        kind(**options)
        with pytest.raises(InvalidOptionError, match=sentence) as caught:
            kind(asynchronous=True, **options)
        assert one_sentence(caught.value)

    def test_a_method_that_always_looks_at_what_is_stored(self):
        with pytest.raises(InvalidOptionError, match="does not go with --async"):
            MIR(asynchronous=True)

    def test_a_sampler_that_needs_task_ids_where_there_are_none(self):
        with pytest.raises(InvalidOptionError, match="--buffer_sampler old_tasks needs task ids") as caught:
            configured(AsyncRehearsal(buffer_sampler="old_tasks"), "task_agnostic")
        assert one_sentence(caught.value)

    def test_a_buffer_smaller_than_the_workers(self, monkeypatch):
        monkeypatch.setattr("redwood.methods.replay.options.world_size", lambda: 2)
        method = AsyncRehearsal(buffer_size=1)
        method.attach(Run(accelerator="cpu"))
        with pytest.raises(InvalidOptionError, match="--buffer_size 1 has to be at least --workers 2"):
            method.configure(small_setting("class_incremental", workers=2).for_method())
