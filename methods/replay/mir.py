"""Maximally interfered retrieval (Aljundi et al., 2019)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from redwood.methods.base import Composition
from redwood.methods.replay.parts import BUFFER_SAMPLERS
from redwood.methods.replay.rehearsal import Rehearsal


@dataclass
class MIR(Rehearsal):
    """Replay the samples whose loss the step on the incoming ones would raise most (Algorithm 1).

    Of candidates that are drawn uniformly the sampler takes those of the highest rise; `--mir_candidates 100`
    considers more of them.

    The step is looked ahead to as in the paper: one of plain gradient descent, at the rate that the schedule gives the
    coming step. Momentum, weight decay and what other optimizers make of a gradient are left out; with `--optimizer
    adam` it is far shorter than the step that follows.

    In one pass over a few dozen batches more candidates do harm: the samples that a step would hurt most are then
    nearly all of old classes, and the draw is no fair sample of the stream any more.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    multi_label: ClassVar[bool] = True

    buffer_sampler: Any = BUFFER_SAMPLERS.chosen("mir")  # which samples are drawn from it
