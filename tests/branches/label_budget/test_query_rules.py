"""Rules of active learning: which labels are asked for, by the predictions or the features of a method."""

import math
from dataclasses import dataclass, field

import pytest
import torch

from redwood.branches.label_budget.query_rules import QUERY_RULES, entropy, k_centres, margin
from redwood.branches.label_budget.setting import LabelBudgetSetting
from redwood.cli import main
from redwood.core.errors import InvalidOptionError, NotApplicableError
from redwood.methods import Finetune, get_method
from redwood.methods.baselines import Random
from tests.cheats import Honest
from tests.cli.command import assert_one_sentence
from tests.label_sets import few_label_sets
from tests.methods.helpers import refused
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting


def test_margin():
    scores = torch.tensor([[0.5, 0.5, 0.0], [0.7, 0.2, 0.1], [0.4, 0.3, 0.3]]).log()
    assert margin(scores).tolist() == pytest.approx([1.0, 0.5, 0.9])
    assert margin(torch.zeros(2, 1)).tolist() == [0, 0]


def test_entropy():
    scores = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3] * 3]).log()
    assert entropy(scores).tolist() == pytest.approx([0, math.log(2), math.log(3)])


class TestCentres:
    def test_each_is_the_farthest_from_those_before(self):
        features = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0], [30.0]])
        # The mean is 9; then 30, then 0, then 2.
        assert k_centres(features, 4).tolist() == [3, 5, 0, 2]

    def test_the_greedy_solution_is_at_most_twice_the_best(self):
        """The bound of the greedy algorithm (Gonzalez, 1985), against all choices of three centres."""
        points = torch.rand(12, 2, generator=torch.Generator().manual_seed(0))
        distances = torch.cdist(points, points)
        radius = distances[k_centres(points, 3)].amin(0).max()
        best = min(distances[list(three)].amin(0).max() for three in torch.combinations(torch.arange(12), 3).tolist())
        assert best <= radius <= 2 * best

    def test_equal_samples(self):
        assert sorted(k_centres(torch.zeros(4, 2), 4).tolist()) == [0, 1, 2, 3]
        assert k_centres(torch.zeros(4, 2), 0).tolist() == []


def run(method, **options):
    return run_here(
        small_setting("label_budget", **{"label_budget": 0.2, "batch_size": 8, "nb_tasks": 1} | options), method
    )


@pytest.mark.parametrize("rule", QUERY_RULES.names())
class TestRules:
    def test_it_is_counted_as_selection(self, rule):
        flops = run(Finetune(), query_rule=rule).cost.flops
        assert (flops["selection"][0] > 0) == (rule != "random")

    def test_it_asks_for_all_that_it_may(self, rule):
        assert run(Finetune(), query_rule=rule).labels_used[0][-1] == 32

    @pytest.mark.parametrize("method", ["icarl", "gdumb", "ewc+rehearsal", "ncm"])
    @pytest.mark.few(4)
    def test_other_methods(self, rule, method):
        assert run(get_method(method)(), nb_tasks=2, query_rule=rule).labels_used[1][-1] == 18


def test_the_rule_decides_what_is_served():
    seen = {}

    for rule in QUERY_RULES.names():

        class Notes(Finetune):
            def after_loss(self, step):
                seen.setdefault(rule, []).append(step.incoming.x)  # noqa: B023

        run(Notes(), query_rule=rule)
    assert len({torch.cat(samples).numpy().tobytes() for samples in seen.values()}) == len(QUERY_RULES.names())


@dataclass
class Pixels(Honest):
    """No network: its scores and its features are pixels. It notes the windows that its features are asked of."""

    windows: list = field(default_factory=list)
    batches: list = field(default_factory=list)

    def predict(self, x, task_id):
        return x.flatten(1)[:, 20:30].float()

    def features(self, x):
        self.windows.append(x)
        return x.flatten(1).float()

    def learn(self, batch):
        self.batches.append(batch)


class TestWithoutGradients:
    """A method that is no `LightningMethod`: its predictions and features are asked for all the same."""

    @pytest.mark.parametrize("rule", ["margin", "entropy"])
    def test_the_least_certain_samples_get_their_labels(self, rule):
        method, uncertainty = Pixels(), {"margin": margin, "entropy": entropy}[rule]
        run(method, query_rule=rule)
        assert len(method.batches) == 4
        for batch in method.batches:
            chosen, others = (uncertainty(method.predict(x, None)) for x in (batch.x, batch.unlabelled))
            assert chosen.min() >= others.max()

    def test_samples_that_cover_the_window_get_their_labels(self):
        method = Pixels()
        run(method, query_rule="core_set")
        for window, batch in zip(method.windows, method.batches, strict=True):
            centres = k_centres(window.flatten(1).float(), len(batch.y))
            assert torch.equal(batch.x, window[centres.sort().values])

    @pytest.mark.parametrize("rule", ["margin", "entropy", "core_set"])
    def test_ncm_learns_other_samples_than_at_random(self, rule):
        learned = [get_method("ncm")() for _ in range(2)]
        for method, name in zip(learned, ("random", rule), strict=True):
            run(method, query_rule=name)
        x = few_digits().x_test
        assert not torch.equal(*(method.predict(x, None) for method in learned))

    def test_classes_alone_have_no_margin(self):
        with refused("--query_rule margin needs scores, but Random predicts classes alone; use", InvalidOptionError):
            run(Random(), query_rule="margin")

    def test_no_features(self):
        with refused("random has no features; choose a method with a network", NotApplicableError):
            run(Random(), query_rule="core_set")


def test_methods_without_scores():
    class Classes(Finetune):
        def predict(self, x, task_id):
            return super().predict(x, task_id).argmax(1)

    with refused("--query_rule margin needs scores, but Classes predicts classes alone", InvalidOptionError):
        run(Classes(), query_rule="margin")
    run(Classes(), query_rule="core_set")


class First(Finetune):
    """Asks for the first samples of each window, whatever the rule; notes them, and what it is served."""

    def query(self, x, task_id, limit):
        vars(self).setdefault("asked", []).append(x[:limit])
        return torch.arange(limit)

    def after_loss(self, step):
        vars(self).setdefault("served", []).append(step.incoming.x)


class TestOwnQuery:
    def test_it_is_asked_instead(self):
        method = First()
        assert run(method).labels_used[0][-1] == 32
        assert torch.equal(torch.cat(method.asked), torch.cat(method.served))

    @pytest.mark.parametrize("rule", [name for name in QUERY_RULES.names() if name != "random"])
    def test_together_with_a_rule_it_is_refused(self, rule, tmp_path):
        sentence = f"--query_rule {rule} does not go with .*First, which chooses by a rule of its own; leave it out"
        with refused(sentence, InvalidOptionError):
            run_here(small_setting("label_budget", query_rule=rule), First(), run_dir=str(tmp_path / "run"))
        assert not (tmp_path / "run").exists()


class TestRefusals:
    def test_a_method_does_not_have_the_option(self):
        with pytest.raises(TypeError, match="query_rule"):
            Finetune(query_rule="margin")

    def test_another_setting_does_not_have_the_option(self, capsys):
        with pytest.raises(TypeError, match="query_rule"):
            small_setting("online_class_incremental", query_rule="margin")
        pair = ["--setting", "online_class_incremental", "--method", "finetune"]
        assert main([*pair, "--query_rule", "margin"]) == 2
        said = capsys.readouterr().err
        assert_one_sentence(said)
        assert f"There is no option --query_rule for {' '.join(pair)}" in said

    def test_an_unknown_rule(self):
        with refused("--query_rule best is unknown; choose one of random, margin, entropy, core_set"):
            LabelBudgetSetting(query_rule="best")

    @pytest.mark.parametrize("rule", [name for name in QUERY_RULES.names() if name != "random"])
    def test_no_sample_to_choose(self, rule):
        with refused(f"--query_rule {rule} has no sample to choose with --label_budget 1", InvalidOptionError):
            LabelBudgetSetting(label_budget=1.0, query_rule=rule)

    @pytest.mark.parametrize("rule", ["margin", "entropy"])
    def test_samples_of_several_labels_have_no_probabilities_of_one_class(self, rule):
        with refused("goes by the probabilities of classes, but samples of", InvalidOptionError):
            run(Finetune(), dataset=few_label_sets(), nb_tasks=None, label_budget=0.5, query_rule=rule)

    def test_samples_of_several_labels_can_be_chosen_by_their_features(self):
        results = run(Finetune(), dataset=few_label_sets(), nb_tasks=None, label_budget=0.5, query_rule="core_set")
        assert results.labels_used[0][-1] > 0
