"""Losses on samples that stay without labels."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from redwood.core.errors import InvalidOptionError
from redwood.methods import Finetune
from redwood.methods.training.augmentations import flip
from redwood.methods.training.unlabelled import Ignored, Learned, changed
from tests.label_sets import few_label_sets
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting


def method(**options):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    space = SimpleNamespace(low=torch.zeros(1, 2, 2).numpy(), high=torch.ones(1, 2, 2).numpy())
    values = {"augmentation": "flip", "change_images": flip, "network": network}
    return SimpleNamespace(logits=lambda x, ids: network(x), setting=SimpleNamespace(observation_space=space), **values)


X = torch.rand(50, 1, 2, 2, generator=torch.Generator().manual_seed(1))


def test_without_options_nothing_is_computed():
    assert Ignored().loss(method(network=None), X) == 0.0


def test_pseudo_labels_are_the_sure_predictions_for_the_samples_themselves():
    learner, part = method(), Learned(pseudo_labels=0.5)
    torch.manual_seed(3)
    view = changed(learner, X)
    torch.manual_seed(3)
    loss = part.loss(learner, X)
    wanted = 0.0
    for x, other in zip(X, view, strict=True):
        probabilities = learner.network(x[None]).softmax(1)[0]
        if probabilities.max() >= 0.5:
            wanted = wanted - learner.network(other[None]).log_softmax(1)[0, probabilities.argmax()] / len(X)
    assert wanted.item() > 0
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert float(Learned(pseudo_labels=1.0).loss(method(), X)) == 0


def test_consistency_is_the_squared_difference_of_two_views():
    learner, part = method(), Learned(consistency=2.0)
    torch.manual_seed(3)
    views = [changed(learner, X) for _ in range(2)]
    torch.manual_seed(3)
    loss = part.loss(learner, X)
    first, second = (learner.network(view).softmax(1) for view in views)
    assert float(loss) == pytest.approx(2 * float(F.mse_loss(first, second)), rel=1e-5)
    loss.backward()
    assert float(learner.network[1].weight.grad.abs().sum()) > 0


def test_double_precision():
    setting = small_setting("label_budget", label_budget=0.3, batch_size=8, nb_tasks=1)
    flops = [
        run_here(setting, Finetune(unlabelled=part), precision="64-true").cost.training_flops
        for part in ("ignored", Learned(consistency=1.0))
    ]
    assert flops[1] > 1.5 * flops[0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_noise_stays_within_the_range_and_the_dtype(dtype):
    learner = method(augmentation="none")
    learner.setting.observation_space.high *= 16
    x = (16 * X).to(dtype)
    view = changed(learner, x)
    assert view.dtype == dtype
    assert not torch.equal(view, x)
    assert 0 <= float(view.min()) <= float(view.max()) <= 16


@pytest.mark.parametrize(
    "options", [{"pseudo_labels": 0.05}, {"consistency": 5.0}, {"pseudo_labels": 0.05, "consistency": 5.0}]
)
def test_it_changes_what_is_learned_and_counts_as_training(options):
    setting = small_setting("label_budget", dataset=few_digits(), label_budget=0.3, batch_size=8, nb_tasks=1)
    without, learned = Finetune(lr=0.1), Finetune(lr=0.1, unlabelled=Learned(**options))
    flops = [run_here(setting, method).cost.training_flops for method in (without, learned)]
    assert flops[1] > 1.5 * flops[0]
    pairs = zip(without.network.parameters(), learned.network.parameters(), strict=True)
    assert not any(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("options", [{"unlabelled": Learned(0.5)}, {"query_rule": "margin"}])
def test_samples_of_several_labels_have_no_probabilities_of_one_class(options):
    setting = small_setting("label_budget", dataset=few_label_sets(), label_budget=0.5, batch_size=8, nb_tasks=None)
    with pytest.raises(InvalidOptionError, match="goes by the probabilities of classes, but samples of"):
        run_here(setting, Finetune(**options))


def test_samples_of_several_labels_can_be_chosen_by_their_features():
    setting = small_setting("label_budget", dataset=few_label_sets(), label_budget=0.5, batch_size=8, nb_tasks=None)
    assert run_here(setting, Finetune(query_rule="core_set")).labels_used[0][-1] > 0


def test_options_for_samples_without_labels_are_refused_where_all_are_labelled():
    with pytest.raises(InvalidOptionError, match="--query_rule margin has no sample to choose with --label_budget 1"):
        run_here(small_setting("label_budget", label_budget=1.0), Finetune(query_rule="margin"))
