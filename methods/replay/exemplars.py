"""Rehearsal whose stored samples may form one data set with the new ones."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import generator
from redwood.core.workers import rank
from redwood.methods.base import Composition
from redwood.methods.replay.parts import BUFFER_SAMPLERS
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.step import Replayed, Step
from redwood.settings.supervised import SupervisedSetting


@dataclass
class Exemplars(Rehearsal):
    """Rehearsal that with `union` shows each exemplar once in a pass, shuffled among the new samples.

    By default half of each batch are exemplars, by `replay_ratio` 1. This weakens the imbalance of old and new classes,
    which `icarl`, `bic` and `wa` correct. Their papers train on the union of new samples and exemplars. Here a batch of
    the union has all its new samples, and its part of the exemplars beside them.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE

    union: bool = False  # show each exemplar once in a pass, as in the paper, instead of replay_ratio in each batch

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.union:
            return
        sampler = BUFFER_SAMPLERS.text_of(self.buffer_sampler)
        given = [f"--replay_ratio {self.replay_ratio}"] if self.replay_ratio != Rehearsal.replay_ratio else []
        given += [f"--buffer_sampler {sampler}"] if sampler != "uniform" else []
        if given:
            raise InvalidOptionError(
                f"{given[0]} does not go with --union true, which shows each exemplar once; leave it out."
            )
        if self.asynchronous:
            raise InvalidOptionError("--union true does not go with --async, which draws at random; leave one out.")

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.n_exemplars = self.add_state("n_exemplars", 0)  # those of earlier tasks, as the task began
        self.seen_before = self.add_state("seen_before", 0)  # samples that the buffer had seen then
        self._batch, self._n_batches = 0, 1

    @override
    def on_task_start(self, task_id: int | None) -> None:
        super().on_task_start(task_id)
        self.n_exemplars, self.seen_before = len(self.buffer), self.buffer.n_seen

    @override
    def on_batch_start(self, batch_idx: int, n_batches: int) -> None:
        super().on_batch_start(batch_idx, n_batches)
        self._batch, self._n_batches = batch_idx, n_batches

    @override
    def draw(self, step: Step) -> Replayed | None:
        if not self.union:
            return super().draw(step)
        epoch = self.module.trainer.current_epoch
        order = torch.randperm(
            self.n_exemplars, generator=generator(self.setting.seed, "union", self.phase_count, epoch, rank())
        )
        first, end = (self.n_exemplars * batch // self._n_batches for batch in (self._batch, self._batch + 1))
        slots = order[first:end]
        # A sample of the present task may have taken the place of an exemplar.
        slots = slots[~torch.isin(slots, self.buffer.slots_since(self.seen_before))]
        if not len(slots):
            return None
        self.buffer.count_drawn(slots)
        return Replayed(self.buffer.read(slots, device=self.device), slots)
