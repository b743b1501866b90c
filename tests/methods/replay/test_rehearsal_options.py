"""Rehearsal with other policies, samplers and ratios, and what these are told."""

import warnings
from dataclasses import dataclass, field

import pytest
import torch
from torch.nn import functional as F

from redwood.buffers import POLICIES, SAMPLERS
from redwood.methods.baselines import Finetune
from redwood.methods.networks.last_layer import features_of
from redwood.methods.replay import replay
from redwood.methods.replay.der import DER, DERpp
from redwood.methods.replay.er_ace import ERACE
from redwood.methods.replay.mir import MIR
from redwood.methods.replay.rehearsal import Rehearsal
from tests.methods.helpers import augmented, batch_of, configured, filled, numbers, weights_of
from tests.samples import N_TRAIN, numbered
from tests.small_runs import run_here, small_setting


@dataclass
class Told:
    """What a buffer is told, beside what it should have been told; the buffer gets it, too."""

    rated: list = field(default_factory=list)
    losses: list = field(default_factory=list)
    features: list = field(default_factory=list)
    refreshed: list = field(default_factory=list)


def listen(method):
    """Have what the buffer of a method is told noted, together with a computation of it by hand."""
    told, buffer = Told(), method.buffer

    def loss(rows):
        return F.cross_entropy(method.network(rows["x"]).detach(), rows["y"], reduction="none")

    def noting(name, note):
        original = getattr(buffer, name)

        def call(*args, **kwargs):
            note(*args, **kwargs)
            return original(*args, **kwargs)

        setattr(buffer, name, call)

    def note_add(samples, losses=None, features=None, **more):
        if losses is not None:
            told.losses.append((losses, loss(samples)))
        if features is not None:
            told.features.append((features, features_of(method.network, samples["x"])))

    noting("add", note_add)
    noting("on_replayed", lambda slots, losses: told.rated.append((losses, loss(buffer.read(slots)))))
    noting(
        "refresh", lambda features: told.refreshed.append((features, features_of(method.network, buffer.all()["x"])))
    )
    return told


def hear(method, n=96):
    """What the buffer of a method is told while so many samples come in, in batches of 16."""
    told = listen(configured(method))
    filled(method, n)
    return told


def assert_close(pairs, at_least):
    assert len(pairs) >= at_least
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


class TestWhatPoliciesAndSamplersAreTold:
    @pytest.mark.parametrize("cls", [Rehearsal, DER, DERpp, MIR, ERACE])
    def test_losses_of_replayed_samples_at_their_slots_and_of_incoming_ones(self, cls):
        told = hear(cls(buffer_size=20, buffer_policy="loss_aware"))
        assert_close(told.rated, at_least=5)
        if cls is not ERACE:  # whose incoming samples compete among fewer classes
            assert_close(told.losses, at_least=6)
        assert all(bool((losses > 0).any()) for losses, _ in told.losses)

    def test_features(self):
        assert_close(hear(Rehearsal(buffer_size=20, buffer_policy="herding")).features, at_least=6)

    def test_fresh_features_every_so_many_draws(self, monkeypatch):
        monkeypatch.setattr(replay, "REFRESH_EVERY", 4)
        told = hear(method := Rehearsal(buffer_size=20, buffer_sampler="grasp"), n=160)
        assert_close(told.refreshed, at_least=3)
        assert (method.buffer.n_draws, len(told.refreshed)) == (9, 3)
        assert_close(told.features, at_least=10)

    def test_nothing_that_is_not_needed(self):
        told = hear(Rehearsal(buffer_size=20))
        assert told == Told()


@dataclass
class Watched(Rehearsal):
    """Notes what is trained on, and disturbs the global generator."""

    noise: int = 0

    def configure(self, setting):
        super().configure(setting)
        self.seen = []

    def augment(self, step):
        torch.rand(self.noise)
        super().augment(step)
        n, batch = step.n_incoming, step.batch
        incoming, replayed = numbers(batch.x[:n]), numbers(batch.x[n:])
        self.seen.append((incoming, replayed, batch.y.tolist(), batch.task_id.tolist()))


def rehearse(**options):
    method = Watched(**{"buffer_size": 12, "lr": 0.02} | options)
    run_here(small_setting("class_incremental", dataset=numbered(), batch_size=4), method)
    return method


POLICY_OPTIONS = [{"buffer_policy": name} for name in POLICIES]
SAMPLER_OPTIONS = [{"buffer_sampler": name} for name in SAMPLERS]


def name_of(options):
    return "-".join(options.values())


class TestEveryPart:
    @pytest.mark.parametrize("options", POLICY_OPTIONS + SAMPLER_OPTIONS, ids=name_of)
    @pytest.mark.few(6)
    def test_replayed_samples_came_before_and_have_their_labels(self, options):
        method, labels, came = rehearse(**options), numbered().y, {}
        n_replayed = 0
        for incoming, replayed, y, tasks in method.seen:
            assert set(replayed) <= came.keys()
            assert len(set(replayed)) == len(replayed) <= len(incoming)
            assert y == labels[incoming + replayed].tolist()
            came |= dict(zip(incoming, tasks, strict=False))
            assert tasks == [came[number] for number in incoming + replayed]
            n_replayed += len(replayed)
        assert method.buffer.n_seen == N_TRAIN
        assert len(set(numbers(method.buffer.all()["x"]))) == 12
        assert n_replayed > N_TRAIN / 2

    def test_old_tasks_are_those_before_the_current_one(self):
        n_replayed = 0
        for incoming, replayed, _, tasks in rehearse(buffer_sampler="old_tasks").seen:
            assert all(task < tasks[0] for task in tasks[len(incoming) :])
            n_replayed += len(replayed)
        assert n_replayed > N_TRAIN / 2


class TestSeed:
    @pytest.mark.parametrize(
        "options",
        [{"buffer_policy": name} for name in ("reservoir", "class_balanced", "ring", "greedy_balanced", "partitioning")]
        + [{"buffer_sampler": name} for name in ("class_balanced", "task_balanced", "old_tasks")],
        ids=name_of,
    )
    @pytest.mark.few(3)
    def test_draws_follow_from_it_whatever_is_learned_and_whoever_else_draws(self, options):
        plain, disturbed = rehearse(**options), rehearse(**options, noise=7, lr=0.001)
        assert plain.seen == disturbed.seen
        assert not any(map(torch.equal, weights_of(plain), weights_of(disturbed)))


class TestRatio:
    @pytest.mark.parametrize(("ratio", "n"), [(0.5, 8), (1, 16), (3, 48), (0.01, 1), (0.4, 6)])
    def test_so_many_samples_are_drawn_for_each_incoming_one(self, ratio, n):
        method = filled(configured(Rehearsal(buffer_size=60, replay_ratio=ratio)), 64)
        assert len(augmented(method, batch_of(64, 80)).batch.y) == 16 + n

    def test_none_is_fine_tuning(self):
        plain, method = Finetune(), Rehearsal(replay_ratio=0)
        for one in (plain, method):
            run_here(small_setting("class_incremental"), one)
        assert all(map(torch.equal, weights_of(plain), weights_of(method)))
        assert method.buffer.n_draws == 0
        assert len(method.buffer) == 160

    def test_more_than_there_are(self):
        """A ratio that the buffer is too small for asks for all of it, which is nothing to warn of."""
        method = filled(configured(Rehearsal(buffer_size=12, replay_ratio=2)), 16)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(augmented(method, batch_of(32, 48)).batch.y) == 16 + 12
