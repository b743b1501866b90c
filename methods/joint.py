"""Joint training: from scratch on everything so far. The upper bound."""

from dataclasses import dataclass
from typing import ClassVar

from redwood.methods.base import Composition
from redwood.methods.lightning import LightningMethod
from redwood.settings.incremental import CumulativeSetting


@dataclass
class Joint(LightningMethod):
    """Start from new weights in each phase and train on the data of all tasks so far."""

    target = CumulativeSetting
    composition: ClassVar[Composition] = Composition.NEVER
    regression: ClassVar[bool] = True

    def on_task_start(self, task_id: int | None) -> None:
        """Forget everything: new weights, drawn from the run's seed and the phase."""
        super().on_task_start(task_id)
        self.reset_network()
