"""Fine-tuning: train on what comes, with no defence against forgetting. The lower bound."""

from dataclasses import dataclass

from redwood.methods.lightning import LightningMethod
from redwood.settings.continual import ContinualSetting


@dataclass
class Finetune(LightningMethod):
    """Minimise the cross-entropy of the current batch alone."""

    target = ContinualSetting
