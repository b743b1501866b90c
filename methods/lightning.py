"""The base of gradient methods: a network trained by Lightning, of which a subclass changes the loss or the batch.

Lightning is imported when a network is built, not before: it takes seconds, which lists, help and messages do without.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from typing_extensions import override

from redwood.core.checks import check_choice, check_positive, check_range, check_types
from redwood.core.errors import DataError
from redwood.core.growth import grow, grow_optimizer, grows, sizes_of
from redwood.core.parts import Choice, check_suitable, make_parts, refuse_unused
from redwood.core.seeding import seed_everything
from redwood.core.state import State
from redwood.engine.signals import postpone_signals
from redwood.methods.base import Composition, Method
from redwood.methods.networks.check import check_weights
from redwood.methods.networks.last_layer import features_of
from redwood.methods.networks.parts import MODELS, GivenNetwork
from redwood.methods.networks.weights import digest_of
from redwood.methods.training.augmentations import check_augmentation, make_augmentation
from redwood.methods.training.flops import FlopMeter
from redwood.methods.training.heads import TaskHeads, as_predictions, count_outputs, sample_losses
from redwood.methods.training.layers import check_dropout, evaluating, set_dropout, without_warning_of_frozen_parts
from redwood.methods.training.optimizers import OPTIMIZERS
from redwood.methods.training.recipe import CLIPPING, check_phase
from redwood.methods.training.schedules import LR_SCHEDULES, REGIMES
from redwood.methods.training.step import Step
from redwood.settings.assumptions import TaskIds
from redwood.settings.scores.results import Results
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import ContinualSetting

if TYPE_CHECKING:
    from pytorch_lightning import Callback
    from pytorch_lightning.strategies import Strategy

    from redwood.methods.training.module import LearnerModule

SMALL_NETWORK = 1_000_000


@dataclass
class LightningMethod(Method):
    """Train `self.network` on every batch of the stream by gradient descent.

    A subclass overrides `loss`, `augment` (to train on more than the incoming batch) or `after_loss` (to keep it), or
    another hook. All get the `Step`, which carries the values of one hook to the next. Overrides compose: a class that
    inherits a method with an augmentation and a method with a penalty does both. (`compose` makes such classes of any
    methods.) A subclass whose overrides all call `super()` says so with `composition = Composition.ANYWHERE`.

    A module given as `model` is never trained itself: each run trains a copy of it, which is `network` afterwards.

    Attributes that a subclass may use:
        network: Maps samples (B, ...) in their storage dtype to scores (B, K).
        n_outputs: The number of scores K.
        heads: The outputs of each task.
        setting: The setting, as a method may see it.
        phase: The phase that is being trained.
        phase_count: How many phases are over.
        device: Where the network is.
        flops: Counts floating-point operations by use: training steps, validation, and what a subclass counts.
    """

    target = ContinualSetting
    composition: ClassVar[Composition] = Composition.LAST
    unused_options: ClassVar[Mapping[str, str]] = {}  # options that this class refuses, and why, after a comma
    # Leave out of Lightning's training loop what a step here does not use; the results are the same.
    lean_loop: ClassVar[bool] = True

    model: Choice = MODELS.chosen("auto")  # network; also a name of torchvision, timm:NAME or file.py:function
    lr: float = 0.05  # learning rate
    optimizer: Choice = OPTIMIZERS.chosen("sgd")  # algorithm that updates the weights
    dropout: float = 0.0  # share of the hidden activations dropped in training (Mirzadeh et al., 2020)
    lr_schedule: Choice = LR_SCHEDULES.chosen("constant")  # how the learning rate moves within a phase
    regime: Choice = REGIMES.chosen("constant")  # how the learning rate moves from phase to phase
    clipping: Choice = CLIPPING.chosen("none")  # limit of the gradients
    accumulate_grad_batches: int = 1  # batches whose mean gradient makes one step of the optimizer
    # end a phase after so many passes without a better --validation score; keep its best weights (0: never)
    patience: int = 0
    # random change of images: none, flip, crop_flip, or a torchvision transform such as RandomCrop(32,4)
    augmentation: Any = "none"
    optimizer_state: str = "reset"  # when a phase begins: reset or keep the state of optimizer and schedule

    def __post_init__(self) -> None:
        make_parts(self)
        check_types(self)
        for cls in type(self).__mro__:  # of joined methods, each refuses its own
            refuse_unused(self, vars(cls).get("unused_options", {}), self.reference())
        check_choice(self, "optimizer_state", ("reset", "keep"))
        check_dropout(self.dropout)
        check_positive(self, "lr")
        check_range(self, "accumulate_grad_batches", 1)
        check_range(self, "patience", 0)
        check_augmentation(self.augmentation)

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        check_suitable(self, type(setting))
        self.setting = setting
        self.device = self.run.device(setting.workers)
        self.flops = self.add_state("flops", FlopMeter())
        self.phase_count = self.add_state("phase_count", 0)
        self.kept: State | None = self.add_state("kept", None)
        self._resumed_from: dict[str, Tensor] | None = None
        self.change_images = make_augmentation(self.augmentation, setting.observation_space)
        self.n_outputs = count_outputs(setting.action_space)
        heads = TaskHeads(self.n_outputs, active=setting.assumptions.task_ids >= TaskIds.TEST)
        self.heads = self.add_state("heads", heads)
        network = self.make_network()
        if self.run.precision == "64-true":  # as the Trainer does it later: a checkpoint of it has to fit at once
            network = network.double()
        if self.model.file is not None:
            # A resumed run may start anew from the file, so it has to be the same one.
            digest = "" if self.run.is_trained else digest_of(self.model.file)
            self.weights_digest = self.add_state("weights_digest", digest)
        set_dropout(network, self.dropout)
        self.module = self.make_module(network.to(self.device))
        self._set_threads()

    def make_module(self, network: nn.Module) -> "LearnerModule":
        """The LightningModule that trains `network` by this method."""
        from redwood.methods.training.module import LearnerModule

        return LearnerModule(self, network)

    def _set_threads(self) -> None:
        # Small networks are several times slower on many threads than on one.
        small = self.device.type == "cpu" and sum(p.numel() for p in self.network.parameters()) < SMALL_NETWORK
        if self.run.threads or small:
            torch.set_num_threads(self.run.threads or 1)

    @property
    def network(self) -> nn.Module:
        """The network: samples (B, ...) in their storage dtype to scores (B, K)."""
        return self.module.network

    @property
    def phase_lr(self) -> float:
        """Learning rate of the phase that is being trained (once it is over: of the next), before `lr_schedule`."""
        return float(self.regime.rate(self.lr, self.phase_count))

    @property
    def step_lr(self) -> float:
        """Learning rate of the coming step, after `lr_schedule`; that of the phase where no Trainer is at work."""
        trainer = self.module._trainer
        if trainer is None or not trainer.optimizers:
            return self.phase_lr
        return float(trainer.optimizers[0].param_groups[0]["lr"])

    def reset_network(self) -> None:
        """Give the network weights to start from, as at the beginning of a run.

        A network by name gets new ones, which a run with another seed might have started from. A module given from
        Python gets back all that it was given with, pretrained weights included.
        """
        seed_everything(self.setting.seed, "new weights", self.phase_count)
        fresh = self.make_network()
        state = fresh.state_dict()
        self.network.load_state_dict(state)
        for name, value in fresh.named_buffers():
            if name not in state:
                owner, _, buffer = name.rpartition(".")
                setattr(self.network.get_submodule(owner), buffer, value.to(self.device))

    # What a subclass changes.

    def make_network(self) -> nn.Module:
        """A copy of the given module, or a network for the setting's spaces, drawn from torch's global generator.

        It starts from `weights`, if these are given, and what `trainable` leaves out is frozen.
        """
        space, n_outputs = self.setting.observation_space, count_outputs(self.setting.action_space)
        made: nn.Module = self.model.make(space, n_outputs, reads=not self.run.is_trained, start=self._resumed_from)
        return made

    # The hooks of a training step, in the order of their calls; see `redwood.methods.training.step.take_step`.

    def on_train_start(self) -> None:
        """A phase begins to train; in a resumed run, the checkpoint has been loaded."""

    def on_batch_start(self, batch_idx: int, n_batches: int) -> None:
        """Batch `batch_idx` of the `n_batches` of an epoch comes next."""

    def augment(self, step: Step) -> None:
        """Let further samples join the incoming ones: `step.join(...)`."""

    def loss(self, step: Step) -> Tensor:
        """The loss (scalar) of `step.batch`; by default the mean of `losses` times `step.weights`."""
        return step.weigh(self.losses(step)).mean()

    def losses(self, step: Step) -> Tensor:
        """The loss of each sample (B,) of `step.batch`: cross-entropy, of label sets too, or the squared error."""
        losses = sample_losses(self.scores(step), step.batch.y)
        step.losses = losses.detach()
        return losses

    def scores(self, step: Step) -> Tensor:
        """The scores (B, K) of `step.batch`; where ids are given at test, those of other tasks are minus infinity."""
        return self.masked(self.outputs(step), step.batch.task_id)

    def outputs(self, step: Step) -> Tensor:
        """The network's outputs (B, K) for `step.batch`; computed once, whoever asks for them."""
        if step.outputs is None or step.outputs_of is not step.batch.x:
            step.outputs = self.forward(step.batch.x, step.batch.task_id)
            step.outputs_of = step.batch.x
        return step.outputs

    def after_loss(self, step: Step) -> None:
        """The loss has been computed: take what is needed of the step, such as samples for a buffer."""

    def after_backward(self, step: Step) -> None:
        """The gradients of the step have been computed, and averaged over the workers."""

    def before_optimizer_step(self) -> None:
        """The gradients are complete: accumulated, and unscaled."""

    def on_batch_end(self, step: Step, loss: Tensor, batch_idx: int) -> None:
        """The optimizer has taken its step, if one is due after this batch; `loss` is a scalar without a gradient."""

    # Other parts that a subclass may change.

    def callbacks(self) -> "Sequence[Callback]":
        """Further Lightning callbacks for each phase."""
        return ()

    def strategy(self) -> "Strategy | str":
        """The Lightning strategy of each phase."""
        if self.setting.workers == 1:
            return "auto"
        return "ddp_find_unused_parameters_true" if self.may_skip_parameters else "ddp"

    @property
    def may_skip_parameters(self) -> bool:
        """True if the loss of a batch may leave out some parameters; workers then look for them in each step."""
        return False

    def parameter_groups(self) -> list[dict[str, object]]:
        """Return the optimizer's groups of parameters; a group may have its own `lr` and `weight_decay`."""
        return [{"params": [p for p in self.network.parameters() if p.requires_grad]}]

    # From samples to scores.

    def forward(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """The network's outputs (B, K) for samples (B, ...), before any mask, in training and in prediction."""
        outputs: Tensor = self.network(x)
        return outputs

    def logits(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """The scores (B, K) that predictions are made from; override `forward` to change training, too."""
        return self.masked(self.forward(x, task_id), task_id)

    def masked(self, outputs: Tensor, task_id: Tensor | None) -> Tensor:
        """The outputs (B, K); where ids are given at test, those outside each sample's task are minus infinity."""
        return outputs if task_id is None else self.heads.mask(outputs, task_id)

    @override
    def fit(self, phase: Phase) -> None:
        """Train on one phase, with a Trainer of its own."""
        from redwood.methods.training.trainer import make_trainer, telling_divergence

        self.before_training(phase)
        trainer = make_trainer(self, self.setting.workers, self.strategy(), self.callbacks())
        checkpoint = self.run.checkpoint_to_resume(phase.index)
        saving = postpone_signals(when=self.run.saves_inside_phases)
        with saving, without_warning_of_frozen_parts(), telling_divergence(trainer):
            trainer.fit(self.module, phase.train, phase.validation, ckpt_path=checkpoint)
        self.module.tell_stray_layers()  # a phase of one step never reaches the second batch, where this check runs
        # A checkpoint of the very last step leaves no step to train.
        self.module.restore_random_state()
        if self.optimizer_state == "keep":
            self.kept = trainer.optimizers[0].state_dict()
        self.module.trainer = None
        self.network.to(self.device)
        self.after_training(trainer.global_step)

    def before_training(self, phase: Phase) -> None:
        """Take over a phase that is trained next."""
        check_phase(self.patience, phase)
        self.phase = phase
        self.heads.learn(phase.task_classes)

    def after_training(self, steps: int) -> None:
        """Count a phase that has been trained by so many steps of the optimizer."""
        self.run.global_step += steps
        self.phase_count += 1

    @torch.no_grad()
    @override
    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Scores (B, K), or numbers (B,) or (B, d), of the network in evaluation mode."""
        with evaluating(self.network):
            outputs = self.logits(x.to(self.device), None if task_id is None else task_id.to(self.device))
        return as_predictions(outputs, self.setting.action_space)

    @override
    def features(self, x: Tensor) -> Tensor:
        return features_of(self.network, x.to(self.device))

    @classmethod
    def predicts_by_network(cls) -> bool:
        """True if predictions are the network's scores, not values that a subclass computes from them."""
        base = LightningMethod
        return cls.predict is base.predict and cls.logits is base.logits and cls.forward is base.forward

    @override
    def on_finish(self, results: Results) -> None:
        """Let go of the data."""
        self.__dict__.pop("phase", None)

    @override
    def state_dict(self) -> State:
        """Return the network, the initial state of a given one, and the state of all classes of the method."""
        own = {"network": self.network.state_dict(), "initial": self._initial_state()}
        return own | super().state_dict()

    def _initial_state(self) -> dict[str, Tensor] | None:
        """Return the initial state of a given module, for `reset_network`; on the CPU, and not copied there."""
        if self._resumed_from is not None:
            return self._resumed_from
        # A lazy module has no weights yet: its copies draw them from the seed, as networks by name do.
        if not isinstance(self.model, GivenNetwork) or any(map(is_lazy, self.model.module.parameters())):
            return None
        return {name: value.cpu() for name, value in self.model.module.state_dict().items()}

    def inside_state(self) -> State:
        """Return the method's state for a checkpoint inside a phase; Lightning and the strategy save the rest."""
        return self.state_dict()

    @override
    def load_state_dict(self, state: State) -> None:
        """Continue with an earlier network."""
        check_weights(state["network"], self.network)
        if self.model.file is not None and not self.run.is_trained and state["weights_digest"] != self.weights_digest:
            raise DataError(
                f"--weights {self.model.file} is not the file that the run started from; give that one, by the same "
                "path."
            )
        self.network.load_state_dict(state["network"])
        if "initial" in state:  # a checkpoint inside a phase is without it
            self._resumed_from = state["initial"]
        super().load_state_dict(state)

    @override
    def grow_state(self, saved: State, smaller: Any) -> State:
        sizes = sizes_of(self.network, smaller.network)
        for name in self._states:  # further networks, such as those that carry targets back
            larger = getattr(self, name)
            if isinstance(larger, nn.Module):
                sizes |= sizes_of(larger, getattr(smaller, name))
        parts = {name: grow(getattr(self, name), getattr(smaller, name), saved[name], sizes) for name in self._states}
        if saved["kept"] is not None:
            parts["kept"] = grow_optimizer(self.parameter_groups(), smaller.parameter_groups(), saved["kept"])
        if grows(sizes):
            self.flops.load_state_dict(saved["flops"])
            self.flops.start_anew()
            parts["flops"] = self.flops.state_dict()
        network = grow(self.network, smaller.network, saved["network"], sizes)
        return {"network": network, "initial": saved["initial"]} | parts

    @override
    def costs(self) -> State:
        """FLOPs so far, also by use, the size of the network, and the bytes of the state that counts as buffer."""
        parameters = sum(p.numel() for p in self.network.parameters())
        flops = {"training_flops": self.flops.total(), "flops": self.flops.by_use()}
        return super().costs() | flops | {"parameters": parameters}
