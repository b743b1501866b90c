from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from redwood.core.errors import InvalidOptionError
from redwood.methods.baselines import Finetune
from redwood.methods.regularisation.ewc import EWC, fisher_diagonal
from redwood.settings import ClassSplit
from redwood.settings.tree import OnlineClassIncrementalSetting
from tests.methods.helpers import configured
from tests.methods.regularisation.linear import Linear, linear, mean_product
from tests.samples import few_digits
from tests.small_runs import NormalisedNetwork, run_here, small_setting


@dataclass
class Given(EWC):
    """The Fisher information of each task is given rather than estimated; the penalty is that of the paper."""

    ewc_form: str = "per_task"  # online: one term for all earlier tasks, which decays; per_task: one for each
    importance_scale: str = "none"  # mean: divide a task's importances

    def __post_init__(self):
        super().__post_init__()
        self.given = []

    def importance(self):
        return self.given.pop(0)


def random_weights(network, seed, zeros=0.3):
    """For each parameter a tensor of its shape, at least 0, with some entries exactly 0."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(p.shape, generator=generator) * (torch.rand(p.shape, generator=generator) > zeros)
        for name, p in network.named_parameters()
    }


def end_tasks(method, count):
    """End so many tasks, each with a Fisher information and weights of its own; return these."""
    tasks = []
    for number in range(count):
        fisher = random_weights(method.network, number)
        with torch.no_grad():
            for parameter in method.network.parameters():
                parameter.add_(torch.randn_like(parameter))
        tasks.append((fisher, {name: p.detach().clone() for name, p in method.network.named_parameters()}))
        method.given.append({name: value.clone() for name, value in fisher.items()})
        method.on_task_end(number)
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter.add_(1)
    return tasks


def explicit_penalty(method, tasks):
    """Equation 3: the sum over tasks of lambda/2 F (w - w*)^2."""
    parameters = dict(method.network.named_parameters())
    terms = [
        (fisher[name] * (parameters[name] - anchor[name]).square()).sum() for fisher, anchor in tasks for name in fisher
    ]
    return method.ewc_lambda / 2 * torch.stack(terms).sum()


def gradients(value, network):
    return torch.autograd.grad(value, list(network.parameters()))


class TestPenalty:
    def test_there_is_none_in_the_first_task(self):
        assert float(configured(EWC()).penalty()) == 0
        held, free = EWC(ewc_lambda=1e6), Finetune()
        for method in (held, free):
            run_here(small_setting("traditional"), method)
        assert all(map(torch.equal, held.network.parameters(), free.network.parameters()))

    def test_one_task_is_a_parabola_around_its_weights(self):
        method = configured(Given(ewc_lambda=3.0))
        tasks = end_tasks(method, 1)
        torch.testing.assert_close(method.penalty(), explicit_penalty(method, tasks))

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_merged_parabolas_pull_as_the_sum_over_tasks_does(self, count):
        method = configured(Given(ewc_lambda=3.0))
        tasks = end_tasks(method, count)
        merged = gradients(method.penalty(), method.network)
        summed = gradients(explicit_penalty(method, tasks), method.network)
        for mine, expected in zip(merged, summed, strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)
            assert bool(expected.any())

    def test_memory_does_not_grow_with_the_tasks(self):
        method = configured(Given())
        end_tasks(method, 1)
        before = method.costs()["buffer_bytes"]
        end_tasks(method, 4)
        assert method.costs()["buffer_bytes"] == before == 2 * 4 * method.costs()["parameters"]

    def test_a_quadratic_loss_is_minimised_where_the_closed_form_says(self):
        """min over w of a/2 (w - c)^2 + lambda/2 F (w - m)^2 is at (a c + lambda F m) / (a + lambda F)."""
        method = configured(Given(ewc_lambda=2.0))
        ((fisher, anchor),) = end_tasks(method, 1)
        parameters = dict(method.network.named_parameters())
        optimizer = torch.optim.SGD(parameters.values(), lr=0.2)
        for _ in range(200):
            optimizer.zero_grad()
            loss = sum(1.5 / 2 * (p - 0.5).square().sum() for p in parameters.values()) + method.penalty()
            loss.backward()
            optimizer.step()
        for name, parameter in parameters.items():
            expected = (1.5 * 0.5 + 2 * fisher[name] * anchor[name]) / (1.5 + 2 * fisher[name])
            torch.testing.assert_close(parameter.detach(), expected)


class TestFisherDiagonal:
    def compare(self, network, n_samples):
        data = few_digits()
        x, y = data.x[:n_samples], data.y[:n_samples]

        def log_likelihood(weights, one, label):
            scores = functional_call(network, weights, (one[None],))
            return scores.log_softmax(1)[0].gather(0, label[None])[0]

        found = fisher_diagonal(network, log_likelihood, x, y)
        modes = [part.training for part in network.modules()]
        network.eval()
        trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
        expected = {name: torch.zeros_like(p) for name, p in trained.items()}
        for one, label in zip(x, y, strict=True):
            value = network(one[None]).log_softmax(1)[0, label]
            for name, gradient in zip(trained, torch.autograd.grad(value, list(trained.values())), strict=True):
                expected[name] += gradient.square() / n_samples
        assert found.keys() == expected.keys()
        for name in found:
            torch.testing.assert_close(found[name], expected[name])
        return modes

    @pytest.mark.parametrize("n_samples", [1, 32, 50])
    def test_it_is_the_mean_square_of_each_samples_gradient(self, n_samples):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), AsFloats(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10))
        self.compare(network, n_samples)

    def test_in_evaluation_mode_without_frozen_parameters(self):
        torch.manual_seed(0)
        network = NormalisedNetwork()
        network[1].bias.requires_grad_(False)
        assert all(self.compare(network, 20))
        assert torch.equal(network[2].running_mean, torch.zeros(32))


class AsFloats(nn.Module):
    def forward(self, x):
        return x.float()


def exact_fisher(method, x):
    """Mean over samples of the expectation over the network's own labels, which `EWC` estimates by one draw each."""
    total = {name: torch.zeros_like(p) for name, p in method.network.named_parameters()}
    for one in x:
        scores = method.network(one[None]).log_softmax(1)[0]
        for value in scores:
            found = torch.autograd.grad(value, list(method.network.parameters()), retain_graph=True)
            for name, gradient in zip(total, found, strict=True):
                total[name] += value.exp().detach() * gradient.square() / len(x)
    return total


class TestEstimate:
    def test_it_is_that_of_labels_drawn_from_the_predictions(self):
        setting = small_setting("class_incremental", nb_tasks=1, passes=1)
        method = EWC(fisher_samples=160, lr=0.005, importance_scale="none")
        run_here(setting, method)
        expected = exact_fisher(method, setting.dataset.source.x)
        for name, found in method.curvature.items():
            assert float(found.sum() / expected[name].sum()) == pytest.approx(1, abs=0.2)
        pairs = [torch.stack([method.curvature[name].flatten(), expected[name].flatten()]) for name in expected]
        assert float(torch.corrcoef(torch.cat(pairs, dim=1))[0, 1]) > 0.9

    def test_samples_are_of_the_task_that_is_over_and_each_was_seen_once(self):
        @dataclass
        class Watched(EWC):
            def configure(self, setting):
                super().configure(setting)
                self.used = []

            def importance(self):
                aside = self.measure.aside
                rows = aside.state_dict()["rows"]
                self.used.append((aside.n_seen, set(rows["task_id"].tolist()), len(rows["y"])))
                return super().importance()

        method = Watched(fisher_samples=30)
        setting = small_setting("class_incremental", passes=3)
        run_here(setting, method)
        sizes = [sum(phase.train.sizes) for phase in setting.phases()]
        assert method.used == [(size, {task}, 30) for task, size in enumerate(sizes)]

    def test_heads_of_other_tasks_do_not_matter(self):
        setting, method = small_setting("task_incremental", nb_tasks=2, stream=ClassSplit(class_order=range(10))), EWC()
        run_here(setting, method)
        last = method.curvature["head.weight"]
        assert bool(torch.isfinite(last).all())
        assert bool((last.sum(1) > 0).all())


class TestClosedForm:
    """For the softmax of a linear map, d log p_y / dW_ij = (1[y = i] - p_i) x_j."""

    def test_with_given_labels(self):
        method, batch, pixels, scores = linear(EWC(model=Linear(), fisher_labels="given"))
        error = F.one_hot(batch.y, 10) - scores.softmax(1)
        found = method.importance_on(batch.x, batch.y, batch.task_id)
        torch.testing.assert_close(found["1.weight"], mean_product(error.square(), pixels.square()))
        torch.testing.assert_close(found["1.bias"], error.square().mean(0))

    def test_with_labels_of_its_own(self):
        method, batch, *_ = linear(EWC(model=Linear()))
        found, other = (method.importance_on(batch.x, y, batch.task_id) for y in (batch.y, 9 - batch.y))
        assert all(torch.equal(found[name], other[name]) for name in found)


def consolidate():
    method = EWC(fisher_samples=30)
    run_here(small_setting("class_incremental", workers=2), method)
    return method.curvature, method.minimum


def test_two_workers_hold_the_same_parabola(two_workers):
    first, second = two_workers.run(consolidate)
    for mine, others in zip(first, second, strict=True):
        assert all(torch.equal(mine[name], others[name]) for name in mine)
    assert float(first[0]["head.weight"].sum()) > 0


def test_defaults_do_not_blow_the_weights_up():
    """Gradient descent on the penalty is stable only while lr * lambda * F stays below 2."""
    method = EWC()
    run_here(OnlineClassIncrementalSetting(), method)
    assert max(float(p.detach().abs().max()) for p in method.network.parameters()) < 10


@pytest.mark.parametrize("options", [{"ewc_lambda": -1.0}, {"fisher_samples": 0}])
def test_options_out_of_range(options):
    with pytest.raises(InvalidOptionError, match="has to be at least"):
        EWC(**options)
