"""One training step: what it trains on, and that online accuracy counts predictions made before learning."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from redwood.core.errors import InvalidLossError, RedwoodError
from redwood.core.seeding import seed_everything
from redwood.methods.baselines import Finetune
from redwood.methods.replay.der import DER, DERpp
from redwood.methods.replay.er_ace import ERACE
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.step import OnlineScorer, Replayed, take_step
from redwood.settings.batch import Batch
from tests.methods.helpers import batch_of, configured, step_of
from tests.regression import line
from tests.samples import few_digits
from tests.small_runs import NormalisedNetwork, run_here, small_setting


class AsFloats(nn.Module):
    def forward(self, x):
        return x.float()


class DropPath(StochasticDepth):
    """Has the name that timm gives to stochastic depth."""


KEYS = ["continual", "class_incremental", "task_incremental", "cumulative", "online_class_incremental"]


def explicit(cls):
    """The same method, whose `predict` is its own, so that nothing may stand in for it."""
    return type(f"Explicit{cls.__name__}", (cls,), {"predict": lambda self, x, ids: cls.predict(self, x, ids)})


def curve(method, key):
    return run_here(small_setting(key), method).online_curve


class TestStep:
    @pytest.mark.parametrize("with_ids", [True, False])
    def test_samples_that_join_come_behind_the_others(self, with_ids):
        first, others, third = (batch_of(start, start + 8) for start in (0, 8, 16))
        leaves = [batch._asdict() if with_ids else {"x": batch.x, "y": batch.y} for batch in (others, third)]
        step = step_of(first if with_ids else Batch(first.x, first.y, None))
        for each in leaves:
            step.join(Replayed(each, torch.empty(0, dtype=torch.int64)))
        assert torch.equal(step.batch.x, torch.cat([first.x, others.x, third.x]))
        assert torch.equal(step.batch.y, torch.cat([first.y, others.y, third.y]))
        assert step.batch.task_id.tolist() == [0] * 24 if with_ids else step.batch.task_id is None
        assert step.incoming.x is first.x
        assert step.n_incoming == 8

    def test_outputs_are_computed_once_and_keep_their_gradient(self):
        method, step, calls = configured(Finetune()), step_of(batch_of(0, 8)), []
        method.network.register_forward_hook(lambda network, args, outputs: calls.append(outputs))
        method.loss(step)
        assert method.outputs(step) is method.outputs(step) is calls[0]
        assert step.outputs.requires_grad
        assert len(calls) == 1

    def test_outputs_follow_the_samples_and_others_are_not_scored(self):
        scored = []

        class Changed(Finetune):
            def loss(self, step):
                step.batch = step.batch._replace(x=255 - step.batch.x)
                return super().loss(step)

        method, step = configured(Changed()), step_of(batch_of(0, 8))
        method.phase = type(
            "Phase", (), {"asks": False, "score": lambda phase, predictions, batch: scored.append(predictions)}
        )()
        expected = method.predict(step.incoming.x, None).argmax(1)
        take_step(method, step, OnlineScorer(method, method.network))
        changed = method.network(255 - step.incoming.x)
        assert torch.equal(scored[0], expected)
        assert not torch.equal(changed.argmax(1), expected)
        torch.testing.assert_close(step.outputs, changed)

    def test_losses_are_those_of_each_sample_without_a_gradient(self):
        method, step = configured(Finetune()), step_of(batch_of(0, 8))
        loss = method.loss(step)
        expected = nn.functional.cross_entropy(method.network(step.batch.x), step.batch.y, reduction="none")
        torch.testing.assert_close(step.losses, expected.detach())
        assert not step.losses.requires_grad
        torch.testing.assert_close(loss, expected.mean())

    def test_samples_count_by_their_weights(self):
        method, step = configured(Finetune()), step_of(batch_of(0, 8))
        step.weights = torch.arange(8.0)
        torch.testing.assert_close(method.loss(step), (method.losses(step) * torch.arange(8.0)).mean())


@pytest.mark.parametrize("cls", [Finetune, Rehearsal, ERACE, DER, DERpp])
def test_a_sample_without_weight_has_no_gradient(cls):
    method, step = configured(cls()), step_of(batch_of(0, 8))
    step.weights = torch.tensor([0.0, *[8 / 7] * 7])
    method.loss(step)
    (gradient,) = torch.autograd.grad(method.loss(step), step.outputs)
    assert not gradient[0].any()
    assert gradient[1:].any(1).all()


class Hooked(Finetune):
    """Notes the hooks of a step and the predictions for its score."""

    def configure(self, setting):
        super().configure(setting)
        self.calls = []
        self.phase = type(
            "Phase", (), {"asks": False, "score": lambda phase, predictions, batch: self.calls.append("score")}
        )()

    def augment(self, step):
        self.calls.append("augment")

    def loss(self, step):
        self.calls.append("loss")
        return super().loss(step)

    def after_loss(self, step):
        self.calls.append("after_loss")


@pytest.mark.parametrize(
    ("options", "first_pass", "calls"),
    [
        ({}, True, ["augment", "loss", "score", "after_loss"]),
        ({"dropout": 0.5, "model": "mlp"}, True, ["augment", "score", "loss", "after_loss"]),
        ({}, False, ["augment", "loss", "after_loss"]),
    ],
)
def test_a_step_calls_the_hooks_in_order_and_is_scored_in_the_first_pass(options, first_pass, calls):
    method = configured(Hooked(**options))
    step = step_of(batch_of(0, 8), first_pass=first_pass)
    loss = take_step(method, step, OnlineScorer(method, method.network))
    assert method.calls == calls
    assert loss.requires_grad


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda loss: None, "None"),
        (lambda loss: loss.item(), "a float"),
        (lambda loss: loss.expand(8), r"a tensor of shape \(8,\)"),
        (lambda loss: loss.detach(), "a tensor without a gradient"),
    ],
    ids=["forgotten return", "item", "vector", "detached"],
)
@pytest.mark.parametrize("lean", [True, False])
def test_what_is_no_loss_is_told_with_class_and_line(change, told, lean):
    class Mine(Finetune):
        lean_loop = lean

        def loss(self, step):
            return change(super().loss(step))

    line_of_loss = Mine.loss.__code__.co_firstlineno
    sentence = (
        rf"^Mine\.loss \(\S*test_step\.py, line {line_of_loss}\) returned {told}; return a scalar tensor that has a gr"
    )
    with pytest.raises(InvalidLossError, match=sentence):
        run_here(small_setting("class_incremental"), Mine())


class TestReusedForward:
    @pytest.mark.parametrize("key", KEYS)
    @pytest.mark.parametrize("cls", [Finetune, Rehearsal])
    @pytest.mark.few(4)
    def test_it_counts_what_explicit_predictions_count(self, cls, key):
        assert curve(cls(), key) == curve(explicit(cls)(), key)

    def test_a_method_whose_logits_are_its_own_predicts_explicitly(self):
        class Negated(Finetune):
            def logits(self, x, task_id):
                return -super().logits(x, task_id)

        class Reversed(Finetune):
            def forward(self, x, task_id):
                return super().forward(x, task_id).flip(1)

        assert not Negated.predicts_by_network()
        assert not Reversed.predicts_by_network()
        assert Finetune.predicts_by_network()
        assert not explicit(Finetune).predicts_by_network()

    def test_a_loss_that_shows_the_network_other_samples(self):
        """The network never sees the incoming batch itself: predictions have to be made for it."""

        class Blurred(Finetune):
            def loss(self, step):
                return super().loss(replace(step, batch=step.batch._replace(x=step.batch.x // 2)))

        assert curve(Blurred(), "class_incremental") == curve(explicit(Blurred)(), "class_incremental")


class TestWhatBehavesOtherwiseInTraining:
    def scores(self, cls):
        torch.manual_seed(0)
        return curve(cls(model=NormalisedNetwork()), "class_incremental")

    def test_normalised_networks_are_scored_in_evaluation_mode(self):
        assert self.scores(Finetune) == self.scores(explicit(Finetune))

    @pytest.mark.parametrize(
        ("part", "calls"),
        [
            (nn.ReLU(), 1),
            (nn.LayerNorm(64), 1),
            (nn.BatchNorm1d(64), 2),
            (nn.Dropout(0.1), 2),
            (StochasticDepth(0.1, "row"), 2),
            (DropPath(0.1, "row"), 2),
        ],
    )
    def test_a_second_forward_pass_is_made_only_where_needed(self, part, calls):
        sizes = []
        network = nn.Sequential(nn.Flatten(), AsFloats(), part, nn.Linear(64, 10))
        network.register_forward_hook(lambda module, args, scores: sizes.append(len(scores)))
        setting = small_setting("traditional", batch_size=16, passes=1)
        run_here(setting, Finetune(model=network))
        assert sizes.count(16) == calls * len(next(setting.phases()).train)  # test batches are larger

    def test_the_scores_are_those_of_a_network_with_all_its_paths(self):
        def scores(cls):
            torch.manual_seed(0)
            network = nn.Sequential(nn.Flatten(), AsFloats(), StochasticDepth(0.5, "row"), nn.Linear(64, 10))
            return curve(cls(model=network), "class_incremental")

        assert scores(Finetune) == scores(explicit(Finetune))

    def test_the_mode_is_training_again_when_the_loss_is_computed(self):
        modes = []

        class Watches(Finetune):
            def loss(self, step):
                modes.append(all(part.training for part in self.network.modules()))
                return super().loss(step)

        curve(Watches(model=NormalisedNetwork()), "class_incremental")
        assert set(modes) == {True}


def test_replayed_samples_are_read_from_their_rows():
    replayed = Replayed({"x": torch.zeros(2, 1), "logits": torch.ones(2, 3)}, torch.arange(2))
    with pytest.raises(RedwoodError, match=r'the names x, logits; write step\.replayed\.rows\["logits"\]'):
        replayed["logits"]
    with pytest.raises(RedwoodError, match=r'write step\.replayed\.rows\["x"\]'):
        replayed[:1]


class TestBeforeLearning:
    def test_the_first_batch_is_scored_by_the_untrained_network(self):
        setting = small_setting("online_class_incremental", batch_size=40)
        method = Finetune()
        results = run_here(setting, method)
        first = next(iter(next(setting.phases()).train))
        untrained = Finetune()
        untrained.attach(method.run)
        seed_everything(setting.seed, "weights")
        untrained.configure(setting.for_method())
        accuracy = float((untrained.predict(first.x, None).argmax(1) == first.y).float().mean())
        assert results.online_curve[0] == (len(first.y), pytest.approx(accuracy))

    @pytest.mark.parametrize("data", [few_digits(), line()], ids=["classes", "numbers"])
    def test_in_double_precision(self, data):
        results = run_here(small_setting("continual", dataset=data), Finetune(), precision="64-true")
        assert results.online_curve[-1][0] == len(data.y)

    def test_rehearsed_samples_do_not_count(self):
        results = run_here(small_setting("class_incremental"), Rehearsal(buffer_size=50))
        assert results.online_curve[-1][0] == 160
