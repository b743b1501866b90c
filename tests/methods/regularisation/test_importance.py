from dataclasses import dataclass

import pytest
import torch

from redwood.core.errors import DataError, InvalidOptionError
from redwood.methods import get_method
from redwood.methods.baselines import Finetune
from redwood.methods.regularisation.ewc import EWC
from redwood.methods.regularisation.mas import MAS
from redwood.methods.regularisation.rwalk import RWalk
from redwood.methods.regularisation.si import SI
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.schedules import DecayingRate
from tests.methods.helpers import configured, move, one_sentence, weights_of
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting

FAMILY = (EWC, SI, MAS, RWalk)
SCALED = (EWC, SI, MAS)


@dataclass
class EWCRehearsal(EWC, Rehearsal):
    """Both."""


@dataclass
class MASAndSI(MAS, SI):
    """Which importance is meant?"""


@pytest.mark.parametrize("method", FAMILY)
class TestPenalty:
    def test_there_is_none_in_the_first_task(self, method):
        held, free = method(), Finetune()
        for one in (held, free):
            run_here(small_setting("online_traditional"), one)
        assert all(map(torch.equal, held.network.parameters(), free.network.parameters()))

    @pytest.mark.parametrize(("phase", "lr"), [(0, 0.5), (2, 0.5 * 0.1**2)])
    def test_its_gradient_is_bounded_by_the_step_that_leads_to_the_minimum(self, method, phase, lr):
        one = configured(method(lr=0.5, regime=DecayingRate(0.1)))
        one.phase_count = phase
        one.move_penalty({name: torch.full_like(p, 1e9) for name, p in one.trained_weights()})
        anchor = weights_of(one)
        move(one)
        gradients = torch.autograd.grad(one.penalty(), list(one.network.parameters()))
        for weight, gradient, goal in zip(weights_of(one), gradients, anchor, strict=True):
            torch.testing.assert_close(weight - lr * gradient, goal)

    def test_it_changes_the_second_task(self, method):
        held, free = method(), Finetune()
        for one in (held, free):
            run_here(small_setting("online_class_incremental", dataset=few_digits(60, 40), nb_tasks=2), one)
        assert not any(map(torch.equal, held.network.parameters(), free.network.parameters()))


def test_one_parabola_decays_and_moves():
    method = configured(EWC(ewc_form="online", ewc_gamma=0.5, ewc_lambda=3.0, lr=0.1))
    for value in (4.0, 1.0):
        move(method)
        method.consolidate({name: torch.full_like(p, value) for name, p in method.trained_weights()})
    anchor = weights_of(method)
    assert all(bool((value == 0.5 * 4 + 1).all()) for value in method.curvature.values())
    assert all(map(torch.equal, method.minimum.values(), anchor))
    move(method)
    distance = sum((w - a).square().sum() for w, a in zip(weights_of(method), anchor, strict=True))
    torch.testing.assert_close(method.penalty().detach(), 3 / 2 * 0.5 * 3 * distance, msg="gamma counts in the penalty")


def given(method, *scales, **options):
    """A method that has ended tasks of random importances, multiplied by `scales`.

    The weights have moved since by the same way in all cases.

    Returns:
        The method, the importances, and the weights after the last task.
    """

    class Given(method):
        def importance(self):
            return found.pop(0)

    one = configured(Given(**options))
    draw = torch.Generator().manual_seed(0)
    found = [
        {name: scale * torch.rand(p.shape, generator=draw) for name, p in one.trained_weights()} for scale in scales
    ]
    importances = list(found)
    for task in range(len(scales)):
        one.on_task_end(task)
    anchor = weights_of(one)
    move(one)
    return one, importances, anchor


@pytest.mark.parametrize("method", SCALED)
class TestScale:
    def test_the_mean_importance_to_all_tasks_is_one(self, method):
        """By hand, for two tasks, whose importances differ by a factor of a thousand."""
        one, (first, second), anchor = given(method, 1.0, 1e-3)
        distances = [(w - a).square() for w, a in zip(weights_of(one), anchor, strict=True)]
        n = sum(value.numel() for value in first.values())
        means = [sum(float(value.sum()) for value in task.values()) / n for task in (first, second)]
        gamma = getattr(one, "ewc_gamma", 1.0)
        expected = sum(
            ((gamma * a / means[0] + b / means[1]) / (gamma + 1) * distance).sum()
            for a, b, distance in zip(first.values(), second.values(), distances, strict=True)
        )
        torch.testing.assert_close(one.penalty().detach(), one.strength / 2 * expected)

    def test_how_large_importances_are_counts_only_if_they_are_not_scaled(self, method):
        ratios = {}
        for scale in ("mean", "none"):
            small, large = (given(method, size, importance_scale=scale)[0].penalty().item() for size in (1e-4, 1e-2))
            ratios[scale] = large / small
        assert ratios == {"mean": pytest.approx(1), "none": pytest.approx(100)}

    def test_no_importance_at_all_is_no_error(self, method):
        assert float(given(method, 0.0)[0].penalty()) == 0

    def test_it_is_known_after_a_resume(self, method):
        one, _, _ = given(method, 1.0, 1e-3)
        other = configured(method())
        other.load_state_dict(one.state_dict())
        assert float(other.penalty()) == float(one.penalty()) > 0

    def test_a_state_of_another_network_is_told(self, method):
        state = given(method, 1.0)[0].state_dict()
        name = next(iter(state["minimum"]))
        state["minimum"][name] = torch.zeros(2, 3, 5)
        with pytest.raises(DataError, match=rf"is of another network: {name} is \(2, 3, 5\) in the checkpoint"):
            configured(method()).load_state_dict(state)

    def test_an_unknown_scale_is_refused(self, method):
        with pytest.raises(InvalidOptionError, match="importance_scale"):
            method(importance_scale="max")


def test_with_rehearsal():
    method = EWCRehearsal(buffer_size=20, fisher_samples=10)
    run_here(small_setting("online_class_incremental"), method)
    assert len(method.buffer) == 20
    assert method.curvature.keys() == dict(method.network.named_parameters()).keys()
    kept = method.costs()["buffer_bytes"] - method.buffer.nbytes
    assert kept == 2 * 4 * method.costs()["parameters"]


def test_two_of_the_family_are_refused():
    with pytest.raises(InvalidOptionError, match="MAS and SI cannot be combined") as caught:
        configured(MASAndSI())
    assert one_sentence(caught.value)


# What tasks share out: weights between hidden units, and with hat their biases, too.
SHARED = {
    "hat": {f"body.features.{layer}.{kind}" for layer in (1, 3) for kind in ("weight", "bias")},
    "packnet": {"features.1.weight", "features.3.weight"},
}


@pytest.fixture(scope="module")
def alone():
    """Methods with a network for each task, at the end of a run."""
    return {key: ended(key) for key in ("hat", "packnet")}


def ended(name):
    method = get_method(name)()
    run_here(small_setting("task_incremental"), method)
    return method


@pytest.mark.parametrize("frozen", ["hat", "packnet"])
@pytest.mark.parametrize("penalty", ["ewc", "si", "mas", "rwalk"])
@pytest.mark.few(2)
def test_what_a_task_has_of_its_own_has_no_penalty(penalty, frozen, alone):
    """Heads, gates and weights that no earlier task answers with train as they do without a penalty."""
    joined = ended(f"{frozen}+{penalty}")
    assert set(joined.curvature) == SHARED[frozen]
    assert all(bool((joined.curvature[name][free] == 0).all()) for name, free in joined.free_entries().items())
    weights, expected = (dict(method.network.named_parameters()) for method in (joined, alone[frozen]))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert "frozen anyway" in joined.never_acted()
