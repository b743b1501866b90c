"""The training of gradient methods: how many steps, what carries over from phase to phase, what goes wrong."""

import itertools
from dataclasses import dataclass
from math import ceil

import pytest
import torch
from pytorch_lightning import Callback
from torch import nn

from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.engine.checkpoints import read_checkpoint
from redwood.methods.baselines import Finetune
from redwood.methods.lightning import LightningMethod
from redwood.methods.training.optimizers import Sgd
from redwood.settings import ClassSplit
from redwood.settings.tree import ClassIncrementalSetting, ContinualSetting
from tests.samples import N_TRAIN, numbered
from tests.small_runs import NormalisedNetwork, run_here, small_setting


class Watch(Callback):
    """Notes every optimizer step, and what the optimizer knows when a phase starts."""

    def __init__(self):
        self.steps = []
        self.rates = []
        self.known_at_start = []

    def on_train_start(self, trainer, pl_module):
        self.known_at_start.append(len(trainer.optimizers[0].state_dict()["state"]))
        self.steps.append(0)
        self.rates.append([])

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.steps[-1] += 1
        self.rates[-1].append(optimizer.param_groups[0]["lr"])

    def on_train_end(self, trainer, pl_module):
        self.rates[-1].append(trainer.optimizers[0].param_groups[0]["lr"])


@dataclass
class Watched(Finetune):
    """Fine-tuning that can be looked at; `weights` are those at the start of each phase and at the end."""

    def __post_init__(self):
        super().__post_init__()
        self.watch = Watch()
        self.weights = []

    def callbacks(self):
        return [*super().callbacks(), self.watch]

    def fit(self, phase):
        self.note()
        super().fit(phase)

    def on_finish(self, results):
        super().on_finish(results)
        self.note()

    def note(self):
        self.weights.append([p.detach().clone() for p in self.network.parameters()])


def watch(key="class_incremental", method=None, **options):
    method = method or Watched()
    run_here(small_setting(key, **options), method)
    return method


def count_steps(key, options):
    return watch(key, **options).watch.steps


N_TASK = N_TRAIN // 3


class TestSteps:
    @pytest.mark.parametrize("passes", [1, 3])
    @pytest.mark.parametrize("batch_size", [1, 4, 7, 21, 22, 30])
    @pytest.mark.few(4)
    def test_each_phase_takes_the_steps_of_its_passes(self, batch_size, passes):
        options = {"dataset": numbered(), "batch_size": batch_size, "passes": passes}
        assert count_steps("class_incremental", options) == [ceil(N_TASK / batch_size) * passes] * 3
        assert count_steps("continual", options) == [ceil(N_TRAIN / batch_size) * passes]

    def test_phases_of_several_sizes(self):
        options = {"dataset": numbered(), "stream": ClassSplit(increment=[1, 2, 3]), "nb_tasks": None, "batch_size": 4}
        assert count_steps("class_incremental", options) == [2 * ceil(n / 4) for n in (11, 22, 33)]
        assert count_steps("cumulative", options) == [2 * ceil(n / 4) for n in (11, 33, 66)]

    def test_two_workers_take_half_as_many(self, two_workers):
        options = {"dataset": numbered(), "batch_size": 4, "workers": 2, "passes": 3}
        expected = [ceil(N_TASK / 8) * 3] * 3
        assert two_workers.run(count_steps, "class_incremental", options) == [expected, expected]


class TestPhases:
    def test_every_phase_changes_every_weight_tensor(self):
        weights = watch().weights
        for before, after in itertools.pairwise(weights):
            assert not any(map(torch.equal, before, after))

    @pytest.mark.parametrize(
        ("options", "kept"), [({"optimizer": Sgd(momentum=0.9)}, 6), ({"optimizer": "adam", "lr": 0.001}, 6)]
    )
    def test_optimizer_state_starts_anew_or_is_kept(self, options, kept):
        assert watch(method=Watched(**options)).watch.known_at_start == [0, 0, 0]
        keeps = Watched(**options, optimizer_state="keep")
        assert watch(method=keeps).watch.known_at_start == [0, kept, kept]

    def test_momentum_that_is_kept_moves_the_weights_on(self):
        """With no gradient, the first step of a phase is what momentum carries over from the last."""

        @dataclass
        class Coasting(Watched):
            def loss(self, step):
                return super().loss(step) * (self.phase.index == 0)

        for state, moves in (("reset", False), ("keep", True)):
            method = watch(method=Coasting(optimizer=Sgd(momentum=0.9), optimizer_state=state))
            assert torch.equal(method.weights[1][0], method.weights[2][0]) is not moves

    @pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
    def test_optimizers(self, name):
        used = []

        class Look(Callback):
            def on_train_start(self, trainer, pl_module):
                used.append(type(trainer.optimizers[0]).__name__.lower())

        method = Watched(optimizer={name: {"weight_decay": 0.01}})
        method.watch = Look()
        run_here(small_setting("traditional"), method)
        assert used == [name]

    def test_frozen_parameters_stay_as_they_are(self):
        network = NormalisedNetwork()
        network[1].requires_grad_(False)
        frozen = network[1].weight.clone()
        run_here(small_setting("class_incremental"), Finetune(model=network, optimizer=Sgd(weight_decay=0.1)))
        assert torch.equal(network[1].weight, frozen)


class TestLearningRate:
    def rates(self, state, key="class_incremental", **options):
        options = {"dataset": numbered(), "batch_size": 4} | options
        return watch(key, Watched(lr=0.1, lr_schedule="cosine", optimizer_state=state), **options).watch.rates

    def test_constant(self):
        assert {rate for phase in watch(method=Watched(lr=0.1)).watch.rates for rate in phase} == {0.1}

    def test_a_cosine_that_is_reset_ends_at_zero_in_each_phase(self):
        for phase in self.rates("reset"):
            assert phase[0] == pytest.approx(0.1)
            assert phase == sorted(phase, reverse=True)
            assert phase[-1] == pytest.approx(0, abs=1e-9)

    def test_a_cosine_that_is_kept_ends_at_zero_only_at_the_end(self):
        phases = self.rates("keep")
        rates = [rate for phase in phases for rate in phase]
        assert [phase[0] for phase in phases] == pytest.approx([0.1, 0.075, 0.025])
        assert rates == sorted(rates, reverse=True)
        assert rates[-1] == pytest.approx(0, abs=1e-9)

    @pytest.mark.parametrize("key", ["class_incremental", "cumulative"])
    def test_it_neither_rises_nor_ends_early_where_phases_grow(self, key):
        phases = self.rates("keep", key, nb_tasks=None, stream=ClassSplit(increment=[1, 2, 3]))
        rates = [rate for phase in phases for rate in phase]
        assert rates == sorted(rates, reverse=True)
        assert phases[-1][0] > 0.001


class Diverging(nn.Module):
    """Its scores become NaN after `calls` calls in training."""

    def __init__(self, calls):
        super().__init__()
        self.layer = nn.Linear(2, 6)
        self.left = calls

    def forward(self, x):
        self.left -= self.training
        return self.layer(x) * (float("nan") if self.left < 0 else 1)


class TestDivergence:
    @pytest.mark.parametrize(("batch_size", "steps"), [(2, 66), (1, 132), (9, 16)])
    def test_a_loss_that_is_no_number_ends_the_run_with_a_sentence(self, batch_size, steps):
        setting = ContinualSetting(dataset=numbered(), nb_tasks=3, batch_size=batch_size, passes=2)
        assert next(setting.phases()).steps == steps
        with pytest.raises(RedwoodError, match=r"Training diverged: the loss is nan .*use a smaller --lr"):
            run_here(setting, Finetune(model=Diverging(calls=2)))

    def test_the_checkpoint_before_is_kept(self, tmp_path):
        setting = ContinualSetting(dataset=numbered(), nb_tasks=3, batch_size=2)
        with pytest.raises(RedwoodError, match="Training diverged: the loss is nan after 4 steps"):
            run_here(setting, Finetune(model=Diverging(calls=3)), run_dir=str(tmp_path / "run"), checkpoint_every=2)
        (path,) = (tmp_path / "run" / "checkpoints").glob("inside-phase-*")
        weights = read_checkpoint(path, "")["state_dict"]
        assert all(value.isfinite().all() for value in weights.values())

    def test_a_rate_that_is_too_large(self):
        with pytest.raises(RedwoodError, match="Training diverged"):
            run_here(small_setting("class_incremental", passes=40), Finetune(lr=1e4))


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"optimizer": "lion"}, "--optimizer lion is unknown; choose one of adadelta, "),
            ({"lr": 0.0}, "--lr 0.0 has to be greater than 0"),
            ({"lr": float("nan")}, "--lr nan has to be greater than 0"),
            ({"optimizer": Sgd}, "--optimizer needs a part"),
            ({"lr_schedule": "step"}, "--lr_schedule step is unknown"),
            ({"optimizer_state": "lose"}, "--optimizer_state lose is unknown"),
        ],
    )
    def test_values_out_of_range(self, options, sentence):
        with pytest.raises(InvalidOptionError, match=sentence):
            Finetune(**options)


class TestNetwork:
    def test_predict_uses_and_leaves_the_mode_of_every_part(self):
        method = Finetune(model=NormalisedNetwork())
        run_here(small_setting("class_incremental"), method)
        method.network.train()
        method.network[2].eval()  # frozen statistics
        modes = [part.training for part in method.network.modules()]
        x = small_setting("class_incremental").dataset.source.x_test
        assert torch.equal(method.predict(x, None), method.predict(x, None))
        assert [part.training for part in method.network.modules()] == modes

    def test_initial_weights_follow_from_the_seed(self):
        first, again, other = (watch(seed=seed, passes=1).weights[0] for seed in (0, 0, 1))
        assert all(map(torch.equal, first, again))
        assert not any(map(torch.equal, first, other))

    def test_a_whole_method_is_a_loss(self):
        @dataclass
        class LabelSmoothing(LightningMethod):
            """Fine-tuning with smoothed labels."""

            target = ContinualSetting
            epsilon: float = 0.1

            def loss(self, step):
                scores = self.network(step.batch.x)
                return nn.functional.cross_entropy(scores, step.batch.y, label_smoothing=self.epsilon)

        smooth, sharp = (
            run_here(ClassIncrementalSetting(nb_tasks=2, passes=3), method)
            for method in (LabelSmoothing(), LabelSmoothing(epsilon=0.0))
        )
        plain = run_here(ClassIncrementalSetting(nb_tasks=2, passes=3), Finetune())
        assert sharp.accuracy_matrix == plain.accuracy_matrix
        assert smooth.online_curve != plain.online_curve
