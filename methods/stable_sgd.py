"""Stable SGD (Mirzadeh et al., 2020, "Understanding the Role of Training Regimes in Continual Learning")."""

from dataclasses import dataclass
from typing import ClassVar

from redwood.methods.base import Composition
from redwood.methods.finetune import Finetune


@dataclass
class StableSGD(Finetune):
    """Fine-tuning under the paper's stable regime: nothing but other values of options that every method has.

    Forgetting is bounded by 1/2 * lambda_max * |dw|^2 (section 3): dropout and a large learning rate with small batches
    lead to flat minima, where the largest eigenvalue of the Hessian is small, and a learning rate that decays from task
    to task keeps the change dw of the weights small. The paper's batches hold 16 samples; their size is the setting's
    option: give `--batch_size 16`.

    Dropout is 0.25, which the authors name where their script says 0.5, and the first task is trained at `lr` itself,
    where the script decays it already.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    regression: ClassVar[bool] = True

    lr: float = 0.1  # learning rate of the first phase
    momentum: float = 0.8  # momentum of sgd
    dropout: float = 0.25  # share of the hidden activations dropped in training
    lr_decay: float = 0.4  # factor of the learning rate from phase to phase
