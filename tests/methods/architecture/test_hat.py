import itertools

import pytest
import torch
from torch.nn import functional as F

from redwood.core.errors import InvalidOptionError
from redwood.methods.architecture.hat import HAT, GatedNetwork, compensation
from redwood.methods.networks import build_network
from redwood.methods.networks.row import layers_of
from redwood.methods.networks.units import units_of
from tests.methods.helpers import batch_of, configured, step_of
from tests.methods.rows import N_TASKS, RESIDUAL, answers, forgets, normalised_row, plain, watched
from tests.small_runs import small_setting


def network(name):
    return build_network(name, small_setting("task_incremental").observation_space, 10)


def gated_network(body):
    units = units_of(body)
    assert units is not None
    return GatedNetwork(body, units)


class TestGates:
    x = torch.randint(0, 17, (6, 1, 8, 8), generator=torch.Generator().manual_seed(0))

    @pytest.mark.parametrize("name", ["mlp", "simple_cnn"])
    def test_open_gates_change_nothing(self, name):
        body = network(name)
        assert torch.equal(gated_network(body).eval()(self.x), body(self.x))

    @pytest.mark.parametrize("name", ["mlp", "simple_cnn", "normalised"])
    def test_a_shut_gate_is_as_good_as_outgoing_weights_of_zero(self, name):
        body = normalised_row() if name == "normalised" else network(name)
        gated, layers = gated_network(body).eval(), layers_of(body)
        gates = [torch.arange(len(layer.weight)) % 3 > 0 for layer in layers[:-1]]
        shut = gated(self.x, gates)
        with torch.no_grad():
            for gate, layer in zip(gates, layers[1:], strict=True):
                layer.weight.unflatten(1, (len(gate), -1))[:, ~gate] = 0
        torch.testing.assert_close(shut, body(self.x))  # outside the gated network, no gate is left

    def test_soft_in_training_and_hard_in_evaluation(self):
        gated = gated_network(network("mlp"))
        with torch.no_grad():
            for embedding in gated.embeddings:
                embedding.normal_(generator=torch.Generator().manual_seed(0))
        gated.scale = 2.0
        soft, hard = gated.soft_gates(), gated.hard_gates()
        assert torch.equal(soft[0] > 0.5, hard[0]) and 0 < int(hard[0].sum()) < 256
        in_training, in_evaluation = gated.train()(self.x), gated.eval()(self.x)
        assert torch.equal(in_training, gated(self.x, soft)) and torch.equal(in_evaluation, gated(self.x, hard))
        assert not torch.equal(in_training, in_evaluation)


class TestCompensation:
    def test_it_is_the_formula_of_the_paper(self):
        e = torch.tensor([-2.0, -0.1, 0.0, 0.3, 1.5], dtype=torch.float64)
        for s in (0.01, 0.5, 1.0, 20.0):
            expected = 100 * (torch.cosh(s * e) + 1) / (s * (torch.cosh(e) + 1))
            torch.testing.assert_close(compensation(e, s, 100), expected)

    @pytest.mark.parametrize("scale", [0.01, 1.0, 4.0])
    def test_the_steepness_drops_out(self, scale):
        """What is left is the gradient of s_max sigma(e), whatever s is."""
        e = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
        (steep,) = torch.autograd.grad(torch.sigmoid(scale * e).sum(), e)
        (plain,) = torch.autograd.grad(torch.sigmoid(e).sum(), e)
        torch.testing.assert_close(steep * compensation(e.detach(), scale, 400), 400 * plain)

    def test_it_is_finite_where_gates_are_shut(self):
        assert bool(compensation(torch.tensor([-6.0, 6.0]), 400, 400).isfinite().all())

    def test_it_is_that_of_the_gates_alone(self):
        """Not that of another term of the loss, such as a penalty on all parameters."""
        gated = gated_network(network("mlp"))
        gated.scale, gated.max_scale, embedding = 2.0, 50.0, gated.embeddings[0]
        with torch.no_grad():
            embedding.normal_(generator=torch.Generator().manual_seed(0))
        (gated.soft_gates()[0].sum() + 3 * embedding.sum()).backward()
        gate = torch.sigmoid(2.0 * embedding.detach())
        expected = 2 * gate * (1 - gate) * compensation(embedding.detach(), 2.0, 50.0) + 3
        torch.testing.assert_close(embedding.grad, expected)

    def test_gradients_of_several_batches_add_up(self):
        method = watched(HAT, accumulate_grad_batches=2, setting={"passes": 1})
        assert not forgets(method)


class Noting(HAT):
    def on_train_start(self):
        super().on_train_start()
        self.scales = [*getattr(self, "scales", []), []]

    def on_batch_end(self, step, loss, batch_idx):
        super().on_batch_end(step, loss, batch_idx)
        self.scales[-1].append(self.gated.scale)


class TestAnnealing:
    def test_gates_get_steeper_within_each_epoch(self):
        method = watched(Noting, setting={"batch_size": 8, "passes": 2}, hat_smax=50.0)
        assert method.gated.max_scale == 50.0
        for phase in method.scales:
            n = len(phase) // 2
            assert n > 3
            expected = [1 / 50 + (50 - 1 / 50) * step / (n - 1) for step in range(n)]
            assert phase == pytest.approx(expected * 2)

    def test_an_epoch_of_one_batch_has_steep_gates(self):
        method = watched(Noting, setting={"batch_size": 1000, "passes": 1}, hat_smax=50.0)
        assert method.scales == [[50.0]] * N_TASKS


class TestUnits:
    def test_more_and_more_are_used(self):
        class Used(HAT):
            def close(self):
                super().close()
                self.history = [*getattr(self, "history", []), torch.cat(self.used)]

        history = watched(Used, setting={"passes": 1}).history
        for before, after in itertools.pairwise(history):
            assert bool((after | ~before).all()) and int(after.sum()) > int(before.sum())

    def test_weights_between_used_units_are_frozen(self):
        """1 - min(a_i, a_j) is 0 exactly there."""
        method = watched(HAT, model="simple_cnn", setting={"passes": 1})
        used = [gate.float() for gate in method.used]
        frozen = list(method.frozen())
        assert len(frozen) == 6
        for layer in range(3):
            weight, held = frozen[2 * layer]
            inputs = torch.ones(weight.shape[1]) if layer == 0 else used[layer - 1]
            factor = 1 - torch.minimum(used[layer][:, None], inputs[None])
            assert torch.equal(held, (factor == 0)[:, :, None, None].expand_as(weight))
            assert torch.equal(frozen[2 * layer + 1][1], used[layer] == 1)

    @pytest.mark.parametrize(
        "model",
        ["mlp", "simple_cnn", "normalised", *(pytest.param(name, marks=slow) for name, slow in RESIDUAL.items())],
    )
    @pytest.mark.few(2)
    def test_nothing_else_matters_to_the_tasks_that_are_over(self, model):
        """Weights that may change can become anything."""
        method = watched(
            HAT, model=normalised_row() if model == "normalised" else model, hat_lambda=2.0, setting={"passes": 1}
        )
        assert not forgets(method)
        before = answers(method)
        with torch.no_grad():
            for parameter, held in method.frozen():
                assert not bool(held.all())
                parameter[~held] = torch.randn(int((~held).sum()))
            for embedding in method.gated.embeddings:
                embedding.neg_()
        method.own_values.append({})  # as if another phase were trained: none of the three is the latest
        assert torch.equal(answers(method), before)

    def test_a_higher_price_saves_units(self):
        usual, dear = (int(torch.cat(method.used).sum()) for method in (plain(HAT), watched(HAT, hat_lambda=5.0)))
        assert dear < usual


class TestLoss:
    def test_it_is_cross_entropy_and_the_price_of_units(self):
        method = configured(HAT(hat_lambda=2.0), "task_incremental")
        method.network.train()
        method.gated.scale = 3.0
        used = [torch.arange(256) < 56, torch.arange(256) < 156]
        method.used = used
        with torch.no_grad():
            for embedding in method.gated.embeddings:
                embedding.normal_()
        gates = [torch.sigmoid(3.0 * embedding) for embedding in method.gated.embeddings]
        price = sum(gate[~taken].sum() for gate, taken in zip(gates, used, strict=True)) / (200 + 100)
        batch = batch_of(0, 16)
        expected = F.cross_entropy(method.logits(batch.x, batch.task_id), batch.y) + 2.0 * price
        torch.testing.assert_close(method.loss(step_of(batch)), expected)

    def test_there_is_no_price_where_all_units_are_used(self):
        method = configured(HAT(), "task_incremental")
        method.used = [torch.ones(256, dtype=torch.bool)] * 2
        assert float(method.price().detach()) == 0


@pytest.mark.parametrize(("name", "value"), [("hat_smax", 0.5), ("hat_lambda", -1.0)])
def test_values_out_of_range(name, value):
    with pytest.raises(InvalidOptionError, match=f"--{name} {value} has to be at least"):
        HAT(**{name: value})
