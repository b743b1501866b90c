from dataclasses import dataclass

import pytest
import torch
from torch import nn

from redwood.branches.target_propagation.dtp import DTP
from redwood.core.errors import InvalidOptionError
from redwood.methods import get_method
from redwood.methods.baselines import Finetune
from redwood.methods.regularisation.ewc import EWC
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings import ClassSplit
from redwood.settings.batch import Batch
from redwood.settings.data.image_sets import digits
from redwood.settings.tree import TraditionalSetting
from tests.methods.helpers import augmented, batch_of, configured, move, one_sentence, step_of, weights_of
from tests.small_runs import NormalisedNetwork, run_here, small_setting


class Centred(nn.Module):
    def forward(self, x):
        return x.flatten(1).float() / 8 - 1


def elu_network():
    torch.manual_seed(0)
    layers = [nn.Linear(64, 128), nn.ELU(), nn.Linear(128, 64), nn.ELU(), nn.Linear(64, 10)]
    return nn.Sequential(Centred(), *layers)


def gradients(method, loss):
    """The gradient of a loss by each block's weights."""
    parts = torch.autograd.grad(loss, list(method.network.parameters()))
    blocks = parts[::2], parts[1::2]  # weights and biases
    return [torch.cat([weight.flatten(), bias]) for weight, bias in zip(*blocks, strict=True)]


def angles(method, batch):
    """Degrees between the update of each block and that of backpropagation, and how much longer the former is."""
    steps, method.feedback_steps = method.feedback_steps, 0
    own = gradients(method, method.loss(step_of(batch)))
    exact = gradients(method, super(DTP, method).loss(step_of(batch)))
    method.feedback_steps = steps
    pairs = list(zip(own, exact, strict=True))
    degrees = [float(torch.rad2deg(torch.acos((a @ b / (a.norm() * b.norm())).clamp(-1, 1)))) for a, b in pairs]
    return degrees, [float(a.norm() / b.norm()) for a, b in pairs]


def aligned(n_steps, batch_size, **options):
    """Angles before and after so many steps of the feedback modules, while the network stays as it is."""
    data = digits(None, seed=0, image_size=0)
    method = configured(DTP(model=elu_network(), feedback_steps=50, feedback_noise=0.1, **options), "traditional")
    rows = torch.Generator().manual_seed(1)
    test = Batch(data.x[:128], data.y[:128], None)
    before = angles(method, test)
    for _ in range(n_steps // 50):
        drawn = torch.randint(len(data.y), (batch_size,), generator=rows)
        method.loss(step_of(Batch(data.x[drawn], data.y[drawn], None)))
    return before, angles(method, test)


class TestTheory:
    """The update is that of backpropagation, times beta, once the feedback modules are trained."""

    def check(self, before, after, bound):
        assert min(before[0][:-1]) > 80, "random feedback modules know nothing of the gradient"
        assert max(after[0][:-1]) < bound
        assert all(ratio == pytest.approx(0.7, rel=0.25) for ratio in after[1])
        for degrees, ratios in (before, after):
            assert degrees[-1] < 0.1, "the last block needs no feedback module"
            assert ratios[-1] == pytest.approx(0.7, rel=1e-3)

    def test_angles_fall(self):
        self.check(*aligned(250, 32, feedback_lr=0.05), bound=30)

    @pytest.mark.slow
    def test_angles_become_small(self):
        self.check(*aligned(4250, 256, feedback_lr=0.01), bound=5)

    @pytest.mark.slow
    def test_a_run_with_defaults_ends_near_backpropagation(self):
        """Beside a network that moves; the paper's angles in training are about as large."""
        method = DTP()
        TraditionalSetting().apply(method, quiet=True, accelerator="cpu")
        data = digits(None, seed=0, image_size=0)
        degrees, _ = angles(method, Batch(data.x[:128], data.y[:128], None))
        assert max(degrees) < 6

    def test_a_batch_is_learned_from_with_feedback_that_was_trained_on_it(self):
        method = configured(DTP())
        before = [weight.clone() for weight in method.feedback_modules.parameters()]
        method.loss(step_of(batch_of(0, 16)))
        assert not any(map(torch.equal, before, method.feedback_modules.parameters()))

    def test_the_loss_is_still_that_of_the_network(self):
        batch = batch_of(0, 16)
        method, plain = configured(DTP()), configured(Finetune())
        torch.testing.assert_close(method.loss(step_of(batch)), plain.loss(step_of(batch)))


class TestState:
    def test_the_global_generator_has_no_say(self):
        found = []
        for seed in (1, 2):
            method = configured(DTP())
            torch.manual_seed(seed)
            found.append(gradients(method, method.loss(step_of(batch_of(0, 16)))))
        assert all(map(torch.equal, *found))

    def test_noise_differs_from_batch_to_batch(self):
        method = configured(DTP(feedback_steps=1, feedback_lr=0.0))
        states = []
        for _ in range(2):
            method.loss(step_of(batch_of(0, 16)))
            states.append(method._noise.get_state())
        assert not torch.equal(*states)

    def test_feedback_and_momentum_are_memory(self):
        method = configured(DTP())
        weights = 256 * 256 + 256 * 10
        assert method.costs()["buffer_bytes"] == 4 * weights
        method.loss(step_of(batch_of(0, 16)))
        assert method.costs()["buffer_bytes"] == 2 * 4 * weights
        assert method.costs()["parameters"] == configured(Finetune()).costs()["parameters"]

    def test_training_them_counts(self):
        """Per step and sample of the block: F; G three times forward; its gradients by three inputs."""
        few, more = (DTP(feedback_steps=steps) for steps in (1, 3))
        flops = [run_here(small_setting("traditional"), method).cost.training_flops for method in (few, more)]
        per_sample = 2 * (256 * 256 + 256 * 10) * (1 + 3 + 3)
        assert (flops[1] - flops[0]) / (2 * 160 * 2) == pytest.approx(per_sample, rel=0.02)


class TestSettings:
    def test_outputs_of_other_tasks_are_left_alone(self):
        method = configured(DTP(), "task_incremental", nb_tasks=2, stream=ClassSplit(class_order=list(range(10))))
        method.heads.learn({0: (0, 1, 2, 3, 4)})
        method.loss(step_of(batch_of(0, 32, classes=(0, 1, 2, 3, 4)))).backward()
        touched = method.network.head.weight.grad.any(1)
        assert touched.tolist() == [True] * 5 + [False] * 5

    def test_convolutions(self):
        method = DTP(model="simple_cnn", feedback_steps=1)
        before = [w.clone() for w in configured(method, "traditional").network.parameters()]
        run_here(small_setting("traditional", passes=1), method)
        assert not any(map(torch.equal, before, method.network.parameters()))
        assert all(bool(w.isfinite().all()) for w in method.network.parameters())

    def test_double_precision(self):
        run_here(small_setting("traditional", passes=1), DTP(feedback_steps=1), precision="64-true")

    @pytest.mark.slow
    def test_digits_are_learned(self):
        results = TraditionalSetting().apply(DTP(), quiet=True, accelerator="cpu")
        assert results.objective >= 0.94


@dataclass
class DTPRehearsal(DTP, Rehearsal):
    """Both, in this order."""


@dataclass
class EWCDTP(EWC, DTP):
    """Both, in this order."""


class TestComposition:
    def test_rehearsal_mixes_what_the_blocks_are_trained_on(self):
        method, sizes = DTPRehearsal(buffer_size=20, feedback_steps=1), []

        def note(layer, args):
            sizes.append(len(args[0]))

        method = configured(method)
        method._blocks[1][0].register_forward_pre_hook(note)
        step = augmented(method, batch_of(0, 16))
        method.loss(step)
        method.after_loss(step)
        alone = set(sizes)
        sizes.clear()
        method.loss(augmented(method, batch_of(16, 32))).backward()
        assert (alone, set(sizes)) == ({16}, {32})
        assert all(bool(w.grad.any()) for w in method.network.parameters())

    @pytest.mark.slow
    def test_rehearsal_remembers(self):
        accuracy = {}
        for method in (DTPRehearsal(buffer_size=60), DTP()):
            results = run_here(small_setting("class_incremental", passes=10), method)
            accuracy[type(method)] = results.objective
        assert accuracy[DTPRehearsal] > accuracy[DTP] + 0.2

    def test_a_penalty_is_added_as_it_is(self):
        method = configured(EWCDTP(feedback_steps=0))
        without = gradients(method, method.loss(step_of(batch_of(0, 16))))
        method.penalty = lambda: 3 * sum(p.sum() for p in method.network.parameters())
        for before, after in zip(without, gradients(method, method.loss(step_of(batch_of(0, 16)))), strict=True):
            torch.testing.assert_close(after, before + 3)

    @pytest.mark.parametrize("name", ["lwf+dtp", "dtp+lwf"])
    def test_what_another_method_adds_to_the_loss_moves_all_blocks(self, name):
        """Added behind the local losses, it would move the last block only."""
        batch, found = batch_of(0, 16), []
        for alpha in (0.0, 1.0):
            method = configured(get_method(name)(lwf_alpha=alpha, feedback_steps=0))
            method.teacher.current = torch.arange(10) < 4
            method.on_task_end(0)
            move(method)
            method.groups = method.taught_groups()
            found.append(gradients(method, method.loss(step_of(batch))))
        assert not any(map(torch.equal, *found))


def feedback_of_two():
    method = DTP(feedback_steps=1)
    run_here(small_setting("class_incremental", workers=2), method)
    return weights_of(method), [weight.detach() for weight in method.feedback_modules.parameters()]


def test_two_workers_have_one_network_and_feedback_of_their_own(two_workers):
    first, second = two_workers.run(feedback_of_two)
    assert all(map(torch.equal, first[0], second[0]))
    assert not any(map(torch.equal, first[1], second[1]))


@pytest.mark.parametrize(
    "options",
    [
        {"dtp_beta": 0.0},
        {"feedback_steps": -1},
        {"feedback_noise": -0.1},
        {"feedback_lr": -1.0},
        {"feedback_momentum": float("nan")},
        {"dropout": 0.5},
    ],
)
def test_options_out_of_range(options):
    with pytest.raises(InvalidOptionError, match=f"--{next(iter(options))}") as raised:
        DTP(**options)
    assert one_sentence(raised.value)


@pytest.mark.parametrize(
    "model",
    [
        "slim_resnet18",
        NormalisedNetwork(),
        nn.Sequential(Centred(), nn.Linear(64, 10), nn.Tanh(), nn.Linear(10, 10)),
    ],
)
def test_networks_that_cannot_be_gone_back_through(model):
    with pytest.raises(InvalidOptionError, match="choose --model mlp or --model simple_cnn") as raised:
        configured(DTP(model=model))
    assert one_sentence(raised.value)
