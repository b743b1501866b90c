"""Fine-tuning: train on what comes, with no defence against forgetting. The lower bound."""

from dataclasses import dataclass
from typing import ClassVar

from redwood.methods.base import Composition
from redwood.methods.lightning import LightningMethod
from redwood.settings.continual import ContinualSetting


@dataclass
class Finetune(LightningMethod):
    """Minimise the cross-entropy, or the squared error, of the current batch alone."""

    target = ContinualSetting
    composition: ClassVar[Composition] = Composition.ANYWHERE
    regression: ClassVar[bool] = True
