"""Seeds side by side: the results are those of single runs, and what does not fit is told."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from redwood.core.errors import RedwoodError
from redwood.engine.run import Run
from redwood.engine.stack import Member, NotStackableError, run_stack
from redwood.methods import compose, get_method
from redwood.methods.baselines import Finetune
from redwood.methods.networks.builtin import Scale
from redwood.methods.training.stackable import why_not_stacked
from redwood.methods.training.stacked import train_stacked
from redwood.methods.training.stacked_network import why_not_stackable
from redwood.settings.results import Results
from tests.small_runs import NormalisedNetwork, comparable, run_here, small_setting

STACKABLE = ("finetune", "rehearsal", "er_ace", "der", "der_pp", "mir", "ewc", "si", "mas", "rwalk", "lwf")
SEEDS = 3


def quiet(**options: Any) -> Run:
    return Run(**({"quiet": True, "accelerator": "cpu"} | options))


def side_by_side(setting: str, method: Any, *, seeds: int = SEEDS, run: Any = None, **options: Any) -> list[Member]:
    """The runs of a stack; a method is a class or a key, and its options may be given with those of the setting."""
    cls = get_method(method) if isinstance(method, str) else method
    own = {name: options.pop(name) for name in list(options) if name in cls.__dataclass_fields__}
    return [
        Member(small_setting(setting, seed=seed, **options), cls(**own), quiet(**run or {})) for seed in range(seeds)
    ]


def assert_as_single_runs(setting: str, method: Any, **options: Any) -> None:
    stack, single = (side_by_side(setting, method, **options) for _ in range(2))
    for ended, own, other in zip(run_stack(stack, train_stacked), stack, single, strict=True):
        assert isinstance(ended, Results), ended
        wanted, found = comparable(run_here(other.setting, other.method)), comparable(ended)
        slices = [content.pop("slices") for content in (wanted, found)]
        assert found == wanted
        assert slices[0]["accuracy"] == slices[1]["accuracy"]
        assert slices[0]["loss"] == pytest.approx(slices[1]["loss"], abs=1e-3)
        for mine, theirs in zip(own.method.network.parameters(), other.method.network.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


class TestEqualsSingleRuns:
    @pytest.mark.parametrize("method", STACKABLE)
    def test_with_boundaries(self, method):
        assert_as_single_runs("class_incremental", method)

    @pytest.mark.parametrize("method", ["rehearsal", "er_ace", "der_pp", "ewc"])
    def test_with_a_head_for_each_task(self, method):
        assert_as_single_runs("task_incremental", method)

    @pytest.mark.parametrize("method", ["finetune", "der", "mir"])
    def test_in_one_pass(self, method):
        assert_as_single_runs("online_class_incremental", method)

    @pytest.mark.parametrize(
        "options",
        [
            {"optimizer": "adam", "lr": 0.001},
            {"optimizer": "adamw", "lr": 0.001, "weight_decay": 0.1, "lr_decay": 0.5},
            {"momentum": 0.9, "clip_norm": 0.5},
            {"clip_value": 0.01},
        ],
    )
    def test_with_other_optimizers(self, options):
        assert_as_single_runs("class_incremental", "rehearsal", **options)

    def test_of_joined_methods(self):
        assert_as_single_runs("class_incremental", compose(get_method("ewc"), get_method("rehearsal")))

    def test_of_one_seed(self):
        assert_as_single_runs("class_incremental", "rehearsal", seeds=1)

    def test_with_fewer_samples_replayed(self):
        assert_as_single_runs("domain_incremental", "rehearsal", replay_ratio=0.5)

    def test_the_generators_are_left_as_they_were(self):
        torch.manual_seed(5)
        run_stack(side_by_side("class_incremental", "finetune"), train_stacked)
        found = torch.rand(3)
        torch.manual_seed(5)
        assert torch.equal(found, torch.rand(3))


@dataclass
class OtherLabels(Finetune):
    """Replaces labels in its loss, after the stack has computed the losses of the others."""

    stackable: ClassVar[bool] = True

    def loss(self, step):
        step.batch = step.batch._replace(y=step.batch.y.flip(0))
        return super().loss(step)


@dataclass
class OtherGradients(Finetune):
    """Gives the weights new gradients, in place of those of the loss."""

    stackable: ClassVar[bool] = True

    def before_optimizer_step(self):
        for parameter in self.network.parameters():
            parameter.grad = parameter.grad.sign() * 0.01


@dataclass
class OtherMemory(Finetune):
    """Gives the weights other memory, which the stack does not train."""

    stackable: ClassVar[bool] = True

    def on_batch_end(self, step, loss, batch_idx):
        for parameter in self.network.parameters():
            parameter.data = parameter.data.clone()


@dataclass
class NoGradients(Finetune):
    """Leaves out the step of a weight."""

    stackable: ClassVar[bool] = True

    def before_optimizer_step(self):
        next(self.network.parameters()).grad = None


class TestHooksOfUsers:
    def test_a_loss_of_other_labels(self):
        assert_as_single_runs("class_incremental", OtherLabels)

    def test_gradients_of_their_own(self):
        assert_as_single_runs("class_incremental", OtherGradients)

    @pytest.mark.parametrize("method", [OtherMemory, NoGradients])
    def test_what_cannot_be_followed_is_told(self, method):
        for end in run_stack(side_by_side("class_incremental", method), train_stacked):
            assert isinstance(end, RedwoodError)
            assert "leave out --stack_seeds" in str(end)

    def test_a_learning_rate_of_their_own(self):
        @dataclass
        class Own(Finetune):
            stackable: ClassVar[bool] = True

            @property
            def phase_lr(self):
                return 0.01 * (1 + self.setting.seed)

        reason = why_not_stacked(small_setting("class_incremental"), Own(), quiet())
        assert reason is not None
        assert "has its own phase_lr" in reason


@dataclass
class FailsInSeedOne(Finetune):
    stackable: ClassVar[bool] = True
    where: str = "loss"

    def _fail(self, hook):
        if hook == self.where and self.setting.seed == 1 and self.phase_count == 1:
            raise RedwoodError(f"seed 1 fails in {hook}")

    def augment(self, step):
        super().augment(step)
        self._fail("augment")

    def loss(self, step):
        self._fail("loss")
        return super().loss(step)

    def on_batch_end(self, step, loss, batch_idx):
        super().on_batch_end(step, loss, batch_idx)
        self._fail("on_batch_end")

    def on_task_start(self, task_id):
        super().on_task_start(task_id)
        self._fail("on_task_start")

    def on_train_start(self):
        super().on_train_start()
        self._fail("on_train_start")


class TestAFailure:
    @pytest.mark.parametrize("where", ["on_train_start", "augment", "loss", "on_batch_end", "on_task_start"])
    def test_of_one_seed_leaves_the_others_as_they_are(self, where):
        ends = run_stack(side_by_side("class_incremental", FailsInSeedOne, where=where), train_stacked)
        assert [type(end) for end in ends] == [Results, RedwoodError, Results]
        assert str(ends[1]) == f"seed 1 fails in {where}"
        for seed in (0, 2):
            wanted = run_here(small_setting("class_incremental", seed=seed), Finetune())
            assert ends[seed].accuracy_matrix == wanted.accuracy_matrix

    def test_a_seed_that_diverges(self):
        ends = run_stack(side_by_side("class_incremental", "finetune", lr=1e30), train_stacked)
        assert all("Training diverged" in str(end) for end in ends)


class TestRefusals:
    def test_a_subclass_has_to_say_it_itself(self):
        @dataclass
        class Own(Finetune):
            def loss(self, step):
                return 2 * super().loss(step)

        assert not Own.stackable
        reason = why_not_stacked(small_setting("class_incremental"), Own(), quiet())
        assert reason is not None
        assert "is not declared to be stackable" in reason

    def test_a_subclass_with_a_training_of_its_own(self):
        @dataclass
        class Own(Finetune):
            stackable: ClassVar[bool] = True

            def fit(self, phase):
                super().fit(phase)

        assert "has its own fit" in why_not_stacked(small_setting("class_incremental"), Own(), quiet())

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"dropout": 0.1}, "--dropout is given"),
            ({"augmentation": "flip"}, "--augmentation is given"),
            ({"lr_schedule": "cosine"}, "--lr_schedule is given"),
            ({"optimizer_state": "keep"}, "--optimizer_state is given"),
            ({"accumulate_grad_batches": 2}, "--accumulate_grad_batches is given"),
            ({"asynchronous": True}, "--async is given"),
            ({"optimizer": "adafactor"}, "--optimizer adafactor looks at whole tensors"),
        ],
    )
    def test_options_of_the_method(self, options, reason):
        method = get_method("rehearsal")(**options)
        assert why_not_stacked(small_setting("class_incremental"), method, quiet()) == reason

    def test_options_of_setting_and_run(self):
        method, plain = Finetune(), small_setting("class_incremental")
        assert why_not_stacked(plain, method, quiet()) is None
        assert "--validation" in why_not_stacked(small_setting("class_incremental", validation=0.2), method, quiet())
        assert "2 workers" in why_not_stacked(small_setting("class_incremental", workers=2), method, quiet())
        assert "--precision" in why_not_stacked(plain, method, quiet(precision="bf16-mixed"))
        assert "logger" in why_not_stacked(plain, method, quiet(wandb="offline"))

    def test_a_network_without_a_rule(self):
        stack = side_by_side("class_incremental", "finetune", model=NormalisedNetwork())
        with pytest.raises(NotStackableError, match="NormalisedNetwork is no chain of linear layers"):
            run_stack(stack, train_stacked)

    def test_networks_that_are_no_plain_chain(self):
        linear, hooked = nn.Linear(64, 64), nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        hooked.register_forward_hook(lambda module, x, y: y)
        for network, shape, reason in [
            (nn.Sequential(nn.Flatten(), linear, linear), (8, 8), "uses a layer twice"),
            (nn.Sequential(nn.Linear(8, 8), nn.Flatten(), linear), (8, 8), "on samples of several dimensions"),
            (hooked, (8, 8), "hooks"),
        ]:
            found = why_not_stackable(network, shape)
            assert found is not None
            assert reason in found
        space = small_setting("class_incremental").observation_space
        twice = nn.Sequential(Scale(space), nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.ReLU(), nn.Linear(16, 10))
        assert_as_single_runs("class_incremental", "finetune", model=twice)

    def test_a_convolution(self):
        stack = side_by_side("class_incremental", "finetune", model="simple_cnn")
        with pytest.raises(NotStackableError, match="a layer of the kind Conv2d"):
            run_stack(stack, train_stacked)

    def test_checkpoints_inside_phases(self, tmp_path):
        stack = [
            member._replace(run=quiet(run_dir=str(tmp_path / str(seed)), checkpoint_every=3))
            for seed, member in enumerate(side_by_side("class_incremental", "finetune"))
        ]
        with pytest.raises(NotStackableError, match="--checkpoint_every 3 saves inside of it"):
            run_stack(stack, train_stacked)
