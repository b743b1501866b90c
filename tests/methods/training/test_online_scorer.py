"""Online accuracy is that of predictions made before learning, wherever they come from."""

import pytest
import torch
from torch import nn

from redwood.core.seeding import seed_everything
from redwood.methods.baselines import Finetune
from redwood.methods.replay.rehearsal import Rehearsal
from tests.regression import line
from tests.samples import few_digits
from tests.small_runs import NormalisedNetwork, run_here, small_setting


class AsFloats(nn.Module):
    def forward(self, x):
        return x.float()


KEYS = ["continual", "class_incremental", "task_incremental", "cumulative", "online_class_incremental"]


def explicit(cls):
    """The same method, whose `predict` is its own, so that nothing may stand in for it."""
    return type(f"Explicit{cls.__name__}", (cls,), {"predict": lambda self, x, ids: cls.predict(self, x, ids)})


def curve(method, key):
    return run_here(small_setting(key), method).online_curve


class TestReusedForward:
    @pytest.mark.parametrize("key", KEYS)
    @pytest.mark.parametrize("cls", [Finetune, Rehearsal])
    def test_it_counts_what_explicit_predictions_count(self, cls, key):
        assert curve(cls(), key) == curve(explicit(cls)(), key)

    def test_a_method_whose_logits_are_its_own_predicts_explicitly(self):
        class Negated(Finetune):
            def logits(self, x, task_id):
                return -super().logits(x, task_id)

        assert not Negated.predicts_by_network()
        assert Finetune.predicts_by_network()
        assert not explicit(Finetune).predicts_by_network()

    def test_a_loss_that_shows_the_network_other_samples(self):
        """The network never sees the incoming batch itself: predictions have to be made for it."""

        class Blurred(Finetune):
            def loss(self, batch):
                return super().loss(batch._replace(x=batch.x // 2))

        assert curve(Blurred(), "class_incremental") == curve(explicit(Blurred)(), "class_incremental")


class TestWhatBehavesOtherwiseInTraining:
    def scores(self, cls):
        torch.manual_seed(0)
        return curve(cls(model=NormalisedNetwork()), "class_incremental")

    def test_normalised_networks_are_scored_in_evaluation_mode(self):
        assert self.scores(Finetune) == self.scores(explicit(Finetune))

    @pytest.mark.parametrize(
        ("part", "calls"), [(nn.ReLU(), 1), (nn.LayerNorm(64), 1), (nn.BatchNorm1d(64), 2), (nn.Dropout(0.1), 2)]
    )
    def test_a_second_forward_pass_is_made_only_where_needed(self, part, calls):
        sizes = []
        network = nn.Sequential(nn.Flatten(), AsFloats(), part, nn.Linear(64, 10))
        network.register_forward_hook(lambda module, args, scores: sizes.append(len(scores)))
        setting = small_setting("traditional", batch_size=16, passes=1)
        run_here(setting, Finetune(model=network))
        assert sizes.count(16) == calls * len(next(setting.phases()).train)  # test batches are larger

    def test_the_mode_is_training_again_when_the_loss_is_computed(self):
        modes = []

        class Watches(Finetune):
            def loss(self, batch):
                modes.append(all(part.training for part in self.network.modules()))
                return super().loss(batch)

        curve(Watches(model=NormalisedNetwork()), "class_incremental")
        assert set(modes) == {True}


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
