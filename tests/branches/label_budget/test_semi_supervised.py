"""Losses on samples that stay without labels."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from redwood.branches.label_budget.semi_supervised import SemiSupervised, changed
from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.methods import Finetune, get_method
from redwood.methods.training.augmentations import flip
from tests.label_sets import few_label_sets
from tests.methods.helpers import batch_of, configured, refused, step_of
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting

X = torch.rand(50, 1, 2, 2, generator=torch.Generator().manual_seed(1))


def learner(augmentation="flip", **options):
    """A method with a network of four inputs and three outputs."""
    torch.manual_seed(0)
    made = SemiSupervised(**options)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    space = SimpleNamespace(low=torch.zeros(1, 2, 2).numpy(), high=torch.ones(1, 2, 2).numpy())
    made.augmentation, made.change_images = augmentation, flip
    made.module, made.setting = SimpleNamespace(network=network), SimpleNamespace(observation_space=space)
    return made


def test_pseudo_labels_are_the_sure_predictions_for_the_samples_themselves():
    method = learner(pseudo_labels=0.5)
    torch.manual_seed(3)
    view = changed(method, X)
    torch.manual_seed(3)
    loss = method.loss_without_labels(X)
    wanted = 0.0
    for x, other in zip(X, view, strict=True):
        probabilities = method.network(x[None]).softmax(1)[0]
        if probabilities.max() >= 0.5:
            wanted = wanted - method.network(other[None]).log_softmax(1)[0, probabilities.argmax()] / len(X)
    assert wanted.item() > 0
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert learner(pseudo_labels=1.0).loss_without_labels(X).item() == 0


def test_consistency_is_the_squared_difference_of_two_views():
    method = learner(pseudo_labels=0.0, consistency=2.0)
    torch.manual_seed(3)
    views = [changed(method, X) for _ in range(2)]
    torch.manual_seed(3)
    loss = method.loss_without_labels(X)
    first, second = (method.network(view).softmax(1) for view in views)
    assert loss.item() == pytest.approx(2 * F.mse_loss(first, second).item(), rel=1e-5)
    loss.backward()
    assert float(method.network[1].weight.grad.abs().sum()) > 0


def test_the_loss_of_a_step_is_the_sum_of_both_kinds_of_samples():
    method = configured(SemiSupervised(pseudo_labels=0.05), "label_budget")
    step = step_of(batch_of(0, 20))
    without = method.loss(step).item()
    assert without == pytest.approx(F.cross_entropy(method.network(step.batch.x), step.batch.y).item(), rel=1e-5)
    assert method.unlabelled_seen == 0
    step = step_of(batch_of(0, 20))
    step.unlabelled = batch_of(20, 50).x
    torch.manual_seed(3)
    loss = method.loss(step).item()
    torch.manual_seed(3)
    assert loss == pytest.approx(without + method.loss_without_labels(step.unlabelled).item(), rel=1e-5)
    assert loss > without and method.unlabelled_seen == 30


def test_double_precision():
    setting = small_setting("label_budget", label_budget=0.3, batch_size=8, nb_tasks=1)
    flops = [
        run_here(setting, method, precision="64-true").cost.training_flops
        for method in (Finetune(), SemiSupervised(pseudo_labels=0.0, consistency=1.0))
    ]
    assert flops[1] > 1.5 * flops[0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_noise_stays_within_the_range_and_the_dtype(dtype):
    method = learner(augmentation="none")
    method.setting.observation_space.high *= 16
    x = (16 * X).to(dtype)
    view = changed(method, x)
    assert view.dtype == dtype
    assert not torch.equal(view, x)
    assert 0 <= float(view.min()) <= float(view.max()) <= 16


@pytest.mark.parametrize(
    "options",
    [
        {"pseudo_labels": 0.05},
        {"pseudo_labels": 0.0, "consistency": 5.0},
        {"pseudo_labels": 0.05, "consistency": 5.0},
    ],
)
def test_it_changes_what_is_learned_and_counts_as_training(options):
    setting = small_setting("label_budget", dataset=few_digits(), label_budget=0.3, batch_size=8, nb_tasks=1)
    without, learned = Finetune(lr=0.1), SemiSupervised(lr=0.1, **options)
    flops = [run_here(setting, method).cost.training_flops for method in (without, learned)]
    assert flops[1] > 1.5 * flops[0]
    assert learned.unlabelled_seen == 160 - 48
    pairs = zip(without.network.parameters(), learned.network.parameters(), strict=True)
    assert not any(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("name", ["rehearsal", "er_ace", "icarl", "ewc+rehearsal", "background+rehearsal"])
@pytest.mark.few(2)
def test_joined_with_others(name):
    setting = small_setting("label_budget", label_budget=0.3, batch_size=8)
    joined = get_method(f"semi_supervised+{name}")(pseudo_labels=0.05)
    others = get_method(name)()
    flops = [run_here(setting, method).cost.training_flops for method in (others, joined)]
    assert flops[1] > 1.2 * flops[0]
    assert joined.unlabelled_seen > 0


class TestRefusals:
    def test_a_method_that_trains_on_stored_samples_alone(self):
        with refused("semi_supervised.gdumb cannot be made: gdumb is a procedure of its own", InvalidOptionError):
            get_method("semi_supervised+gdumb")

    def test_where_all_samples_have_labels(self):
        with refused(
            "SemiSupervised targets LabelBudgetSetting .--setting label_budget. and .*; OnlineClassIncremental"
        ):
            small_setting("online_class_incremental").apply(SemiSupervised(), quiet=True)

    def test_where_all_labels_can_be_asked_for(self):
        setting, method = small_setting("label_budget", label_budget=1.0), SemiSupervised()
        with pytest.warns(UserWarning, match="No sample was without a label.* lower --label_budget"):
            results = run_here(setting, method)
        assert results.accuracy_matrix == run_here(setting, Finetune()).accuracy_matrix

    def test_samples_of_several_labels_have_no_probabilities_of_one_class(self):
        setting = small_setting("label_budget", dataset=few_label_sets(), label_budget=0.5, batch_size=8, nb_tasks=None)
        with refused("semi_supervised", RedwoodError):
            run_here(setting, SemiSupervised())

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"pseudo_labels": 1.1}, r"--pseudo_labels 1\.1 has to be at least 0 and at most 1"),
            ({"consistency": -1.0}, r"--consistency -1\.0 has to be at least 0"),
            ({"pseudo_labels": 0.0}, "--pseudo_labels 0 leaves no loss of samples without labels; set it, or --cons"),
        ],
    )
    def test_values_out_of_range(self, options, sentence):
        with refused(sentence, InvalidOptionError):
            SemiSupervised(**options)
        with refused(sentence, InvalidOptionError):
            get_method("semi_supervised+rehearsal")(**options)

    def test_other_methods_do_not_have_the_options(self):
        for name in ("pseudo_labels", "consistency", "unlabelled"):
            with pytest.raises(TypeError, match=name):
                Finetune(**{name: 0.5})
