"""Maximally interfered retrieval (Aljundi et al., 2019)."""

from dataclasses import dataclass
from typing import ClassVar

from redwood.core.parts import Choice
from redwood.methods.base import Composition
from redwood.methods.replay.parts import BUFFER_SAMPLERS
from redwood.methods.replay.rehearsal import Rehearsal


@dataclass
class MIR(Rehearsal):
    """Replay the samples whose loss the step on the incoming ones would raise most (Algorithm 1).

    Candidates are drawn uniformly, and the sampler takes those of the highest rise. With `--mir_candidates 100` it
    considers more of them.

    The virtual step is that of the paper: plain gradient descent, at the schedule's rate for the coming step. It has
    no momentum, no weight decay and no adaptive scaling. With `--optimizer adam` it is far shorter than the real step.

    In one pass over a few dozen batches more candidates do harm: the samples that a step would hurt most are then
    nearly all of old classes, and the draw is no fair sample of the stream any more.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    multi_label: ClassVar[bool] = True

    buffer_sampler: Choice = BUFFER_SAMPLERS.chosen("mir")  # sampler that chooses the samples to draw
