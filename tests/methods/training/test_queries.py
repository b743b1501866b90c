"""Rules of active learning: which labels a gradient method asks for."""

import math

import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.methods import Finetune, get_method
from redwood.methods.training.queries import QUERY_RULES, entropy, k_centres, margin
from redwood.methods.training.unlabelled import Learned
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
        flops = run(Finetune(query_rule=rule)).cost.flops
        assert (flops["selection"][0] > 0) == (rule != "random")

    def test_it_asks_for_all_that_it_may(self, rule):
        assert run(Finetune(query_rule=rule)).labels_used[0][-1] == 32

    @pytest.mark.parametrize("method", ["icarl", "gdumb", "ewc+rehearsal"])
    @pytest.mark.few(3)
    def test_other_methods(self, rule, method):
        assert run(get_method(method)(query_rule=rule), nb_tasks=2).labels_used[1][-1] == 18


def test_the_rule_decides_what_is_served():
    seen = {}

    for rule in QUERY_RULES.names():

        class Notes(Finetune):
            def after_loss(self, step):
                seen.setdefault(rule, []).append(step.incoming.x)  # noqa: B023

        run(Notes(query_rule=rule))
    assert len({torch.cat(samples).numpy().tobytes() for samples in seen.values()}) == len(QUERY_RULES.names())


def test_methods_without_scores():
    class Classes(Finetune):
        def predict(self, x, task_id):
            return super().predict(x, task_id).argmax(1)

    with pytest.raises(
        InvalidOptionError, match="--query_rule margin needs scores, but Classes predicts classes alone"
    ):
        run(Classes(query_rule="margin"))
    run(Classes(query_rule="core_set"))


@pytest.mark.parametrize("options", [{"query_rule": "margin"}, {"unlabelled": Learned(0.9)}])
def test_parts_that_a_setting_does_not_offer_are_refused(options):
    (name,) = options
    sentence = f"--{name} .* does not go with OnlineClassIncrementalSetting, which gives all labels unasked; choose one"
    with pytest.raises(InvalidOptionError, match=sentence):
        run_here(small_setting("online_class_incremental"), Finetune(**options))


def test_a_method_that_trains_on_stored_samples_alone():
    with pytest.raises(InvalidOptionError, match="--unlabelled learned does not go with gdumb, which trains on"):
        run(get_method("gdumb")(unlabelled=Learned(consistency=1.0)))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"query_rule": "best"}, "--query_rule best"),
        ({"unlabelled": "learned"}, "--unlabelled learned needs a loss; give --pseudo_labels"),
        (
            {"unlabelled": {"learned": {"pseudo_labels": 1.1}}},
            r"--pseudo_labels 1\.1 has to be at least 0 and at most 1",
        ),
        ({"unlabelled": {"learned": {"consistency": -1.0}}}, r"--consistency -1\.0 has to be at least 0"),
    ],
)
def test_values_out_of_range(options, sentence):
    with pytest.raises(InvalidOptionError, match=sentence):
        Finetune(**options)
