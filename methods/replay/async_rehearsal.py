"""Asynchronous distributed rehearsal (Bouvier et al., 2024)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from redwood.methods.base import Composition
from redwood.methods.replay.options import async_option
from redwood.methods.replay.rehearsal import Rehearsal


@dataclass
class AsyncRehearsal(Rehearsal):
    """Experience replay from the buffers of all workers, hidden behind the training steps.

    "Efficient Data-Parallel Continual Learning with Asynchronous Distributed Rehearsal Buffers". To each worker's
    mini-batch, samples are added that are drawn uniformly from the buffers of all workers. They were drawn and sent
    during the previous training step. On one worker it is experience replay, with the next draw prepared ahead.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    regression: ClassVar[bool] = True
    multi_label: ClassVar[bool] = True
    bars: ClassVar[Mapping[str, str]] = {"exemplars": "as exemplars are chosen at the end of a task"}

    asynchronous: bool = async_option(default=True)  # draw from the buffers of all workers, in the background
