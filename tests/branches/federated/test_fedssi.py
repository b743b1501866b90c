import pytest
import torch

from redwood.branches.federated.fedavg import FedAvg
from redwood.branches.federated.fedssi import FedSSI
from redwood.core.errors import InvalidOptionError
from redwood.methods.training.optimizers import Sgd
from redwood.settings.batch import BatchId, Turn
from tests.methods.helpers import batch_of, configured, one_sentence, step_of
from tests.small_runs import run_here, small_setting

KEY = "federated_class_incremental"


def step_of_client(client, start=0, stop=16):
    turn = Turn(0, client, stop - start, ends=False, ends_round=False)
    return step_of(batch_of(start, stop).with_id(BatchId(0, 0, True, turn)))


def made(**options):
    return configured(FedSSI(**options), KEY)


def trained(method, **options):
    run_here(small_setting(KEY, **options), method)
    return method.network.state_dict()


def gradient_of_network(method, step):
    scores = method.network(step.batch.x)
    loss = torch.nn.functional.cross_entropy(scores, step.batch.y)
    named = dict(method.network.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


class TestSurrogate:
    def test_steps_and_path_by_hand(self):
        method = made(ssi_lambda=0.25, lr=0.1)
        start, step = method.trained_weights(), step_of_client(3)
        gradient = gradient_of_network(method, step)
        for _ in range(2):
            method.after_loss(step)
        expected, path = dict(start), {name: torch.zeros_like(value) for name, value in start.items()}
        for number in range(2):
            if number:
                with torch.no_grad():
                    for name, p in method.network.named_parameters():
                        p.copy_(expected[name])
                gradient = gradient_of_network(method, step)
            for name in start:
                moved = -0.1 * (gradient[name] + 1.5 * (expected[name] - start[name]))  # (1 - 0.25) / (2 * 0.25)
                expected[name] = expected[name] + moved
                path[name] = path[name] - gradient[name] * moved
        for name in start:
            torch.testing.assert_close(method.surrogates[3][name], expected[name])
            torch.testing.assert_close(method.paths[3][name], path[name])
        assert method.surrogates.keys() == {3}

    def test_the_path_sums_up_to_the_drop_of_the_loss(self):
        """For small steps, s = - sum of gradient times movement is the drop."""
        method, step = made(ssi_lambda=1.0, lr=1e-3), step_of_client(0)

        def loss(weights):
            scores = torch.func.functional_call(method.network, weights, (step.batch.x,))
            return float(torch.nn.functional.cross_entropy(scores, step.batch.y))

        before = loss(method.task_start)
        for _ in range(50):
            method.after_loss(step)
        total = sum(float(part.sum()) for part in method.paths[0].values())
        assert total == pytest.approx(before - loss(method.surrogates[0]), rel=0.02)

    def test_lambda_leads_from_the_global_network_to_the_clients_own(self):
        def distance(share):
            method, step = made(ssi_lambda=share, lr=0.1), step_of_client(0)
            for _ in range(20):
                method.after_loss(step)
            moved = [method.surrogates[0][name] - start for name, start in method.task_start.items()]
            return float(sum(part.square().sum() for part in moved)) ** 0.5

        near, between, far = (distance(share) for share in (1e-6, 0.5, 1.0))
        assert near < 0.5 * between < 0.5 * far

    def test_the_network_and_its_gradients_are_left_alone(self):
        method, step = made(), step_of_client(0)
        before = method.trained_weights()
        method.after_loss(step)
        assert all(torch.equal(p, before[name]) for name, p in method.network.named_parameters())
        assert all(p.grad is None for p in method.network.parameters())


class TestPenalty:
    def test_importance_by_hand(self):
        method = made(ssi_scale="none", ssi_xi=0.5)
        name = next(iter(method.task_start))
        surrogate = {key: value + 1.0 for key, value in method.task_start.items()}
        path = {key: torch.full_like(value, 3.0) for key, value in method.task_start.items()}
        path[name] = torch.full_like(path[name], -3.0)
        found = method.importance(surrogate, path)
        assert float(found.pop(name).abs().max()) == 0.0
        assert all(torch.allclose(value, torch.tensor(2.0)) for value in found.values())

    def test_value_and_gradient_by_hand(self):
        method = made(ssi_scale="none", ssi_c=0.3, lr=0.01)
        curvature = {name: torch.full_like(p, 2.0) for name, p in method.network.named_parameters()}
        with torch.no_grad():
            for p in method.network.parameters():
                p.add_(0.1)
        penalty = method.penalty(curvature)
        n = sum(p.numel() for p in method.network.parameters())
        assert float(penalty.detach()) == pytest.approx(0.3 * 2.0 * 0.01 * n, rel=1e-3)
        (gradient,) = torch.autograd.grad(penalty, [next(method.network.parameters())])
        assert torch.allclose(gradient, torch.tensor(2 * 0.3 * 2.0 * 0.1), rtol=1e-3)

    def test_no_step_takes_a_weight_past_the_minimum(self):
        method = made(ssi_scale="none", ssi_c=1e9, lr=0.1)
        curvature = {name: torch.ones_like(p) for name, p in method.network.named_parameters()}
        p = next(method.network.parameters())
        with torch.no_grad():
            p.add_(1.0)
        (gradient,) = torch.autograd.grad(method.penalty(curvature), [p])
        assert torch.allclose(0.1 * gradient, torch.tensor(1.0), rtol=1e-4)

    def test_a_client_is_held_by_its_own_importances(self):
        method = made()
        method.on_task_start(0)
        method.after_loss(step_of_client(1))
        method.on_task_end(0)
        assert method.curvature.keys() == {1}
        assert not method.surrogates and not method.paths
        with torch.no_grad():
            for p in method.network.parameters():
                p.add_(0.1)
        of_other, of_own = (float(method.loss(step_of_client(client)).detach()) for client in (0, 1))
        assert of_own > of_other

    def test_importances_of_tasks_add_up(self):
        method = made(ssi_scale="none")
        found = []
        for task in range(2):
            method.on_task_start(task)
            method.after_loss(step_of_client(1))
            method.on_task_end(task)
            found.append(method.curvature[1])
        assert all(torch.allclose(value, 2 * found[0][name]) for name, value in found[1].items())


class TestRuns:
    def test_without_a_penalty_it_is_fedavg(self):
        options = {"client_skew": 10.0, "participation": 0.5}
        found, expected = (
            trained(FedSSI(ssi_c=0.0, optimizer=Sgd(momentum=0.9)), **options),
            trained(FedAvg(optimizer=Sgd(momentum=0.9)), **options),
        )
        assert all(torch.equal(value, expected[name]) for name, value in found.items())

    def test_a_strong_penalty_keeps_weights_at_the_first_task(self):
        def moved(strength):
            method = FedSSI(ssi_c=strength)
            final = trained(method, client_skew=10.0, rounds=4)
            return float(sum((final[name] - method.task_start[name]).square().sum() for name in final))

        assert moved(1e6) < 0.7 * moved(0.0)

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"ssi_lambda": 0.0}, "--ssi_lambda 0.0 has to be greater than 0 and at most 1."),
            ({"ssi_lambda": 1.5}, "--ssi_lambda 1.5 has to be greater than 0 and at most 1."),
            ({"ssi_c": -1.0}, "--ssi_c -1.0 has to be at least 0."),
            ({"ssi_xi": 0.0}, "--ssi_xi 0.0 has to be at least 1e-12."),
            ({"ssi_scale": "max"}, "--ssi_scale max is unknown"),
        ],
    )
    def test_bad_options(self, options, sentence):
        with pytest.raises(InvalidOptionError, match=sentence) as caught:
            FedSSI(**options)
        assert one_sentence(caught.value)
