"""Fine-tuning: train on what comes, with no defence against forgetting. The lower bound."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from redwood.core.parts import Choice
from redwood.methods.base import Composition, Method
from redwood.methods.lightning import LightningMethod
from redwood.methods.training.optimizers import OPTIMIZERS, Sgd
from redwood.methods.training.schedules import REGIMES, DecayingRate
from redwood.settings.base import Setting
from redwood.settings.rl.actions import random_actions
from redwood.settings.rl.phase import ReinforcementPhase
from redwood.settings.streams.phase import Phase
from redwood.settings.tree import ContinualSetting, CumulativeSetting


@dataclass
class Finetune(LightningMethod):
    """Minimise the cross-entropy, or the squared error, of the current batch alone."""

    target = ContinualSetting
    composition: ClassVar[Composition] = Composition.ANYWHERE
    regression: ClassVar[bool] = True
    multi_label: ClassVar[bool] = True


@dataclass
class Joint(LightningMethod):
    """Start from new weights in each phase and train on the data of all tasks so far."""

    target = CumulativeSetting
    upper_bound: ClassVar[bool] = True
    composition: ClassVar[Composition] = Composition.NEVER
    regression: ClassVar[bool] = True
    multi_label: ClassVar[bool] = True

    def on_task_start(self, task_id: int | None) -> None:
        """Forget everything: new weights, drawn from the run's seed and the phase."""
        super().on_task_start(task_id)
        self.reset_network()


@dataclass
class Random(Method):
    """Draw a class, labels, an action, or numbers of the range of the targets, at random, whatever the observation."""

    target = Setting
    regression: ClassVar[bool] = True
    multi_label: ClassVar[bool] = True

    def configure(self, setting: Setting) -> None:
        """Learn what there is to choose from."""
        self._space = setting.action_space

    def fit(self, phase: Phase | ReinforcementPhase) -> None:
        """Learn nothing, but guess each sample once, or act, so that the online accuracy or return is known."""
        if isinstance(phase, ReinforcementPhase):
            phase.play(self.predict)
            self.run.global_step += phase.steps
            return
        for _ in range(phase.train.epochs):
            for batch in phase.train:
                phase.score(self.predict(batch.x, batch.task_id), batch)

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Return random classes (B,), each of the K classes alike likely; labels or numbers likewise."""
        return random_actions(self._space, len(x), torch.default_generator)


@dataclass
class StableSGD(Finetune):
    """Fine-tuning under the paper's stable regime: nothing but other values of options that every method has.

    Forgetting is bounded by 1/2 * lambda_max * |dw|^2 (section 3). Dropout and a large learning rate with small batches
    lead to flat minima, where the largest eigenvalue lambda_max of the Hessian is small. A learning rate that decays
    from task to task keeps the change dw of the weights small. The paper's batches hold 16 samples; their size is the
    setting's option: give `--batch_size 16`.

    Dropout is 0.25, as the authors say; their script has 0.5. The first task is trained at `lr` itself; the script
    decays it already.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    regression: ClassVar[bool] = True
    multi_label: ClassVar[bool] = True

    lr: float = 0.1  # learning rate of the first phase
    optimizer: Choice = OPTIMIZERS.chosen(Sgd(momentum=0.8))  # algorithm that updates the weights
    dropout: float = 0.25  # share of the hidden activations dropped in training
    regime: Choice = REGIMES.chosen(DecayingRate(lr_decay=0.4))  # how the learning rate moves from phase to phase
