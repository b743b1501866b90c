"""GDumb (Prabhu et al., 2020, "GDumb: A Simple Approach that Questions Our Progress in Continual Learning")."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from redwood.buffers import GreedyBalanced, RehearsalBuffer
from redwood.core.checks import check_range
from redwood.core.parts import Choice
from redwood.core.seeding import derive_seed, generator, preserved_random_state
from redwood.core.state import State, Stateful
from redwood.core.workers import gather_objects, rank
from redwood.methods.base import Composition
from redwood.methods.lightning import LightningMethod
from redwood.methods.replay.options import BufferOptions
from redwood.methods.replay.replay import add_incoming
from redwood.methods.training.optimizers import OPTIMIZERS, Sgd
from redwood.methods.training.schedules import LR_SCHEDULES
from redwood.methods.training.step import Step
from redwood.settings.batch import Batch
from redwood.settings.streams.order import batch_cuts
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import ContinualSetting


class MemoryLoader(Stateful):
    """Iterates over the samples in a buffer, newly shuffled in each epoch; it is resumable.

    Attributes:
        epochs: How often to iterate.
        passes: The same number: each sample is shown once in an epoch.
        first_pass: Always False: the stream has shown these samples before.
        batch_id: None: no setting has handed these batches out.
        unlabelled: None: all stored samples have labels.
    """

    first_pass = False
    batch_id = None
    unlabelled = None

    def __init__(self, buffer: RehearsalBuffer, batch_size: int, epochs: int, seed: int) -> None:
        self._buffer, self._batch_size, self._seed = buffer, batch_size, seed
        self.epochs = self.passes = epochs
        self.shown = self.add_state("shown", 0)  # samples of an epoch
        self.epoch = self.add_state("epoch", 0)
        self.next = self.add_state("next", 0)  # batch of the epoch

    def open(self) -> None:
        """Agree with the other workers on the samples of an epoch; those that store fewer show some twice."""
        self.shown = max(gather_objects(len(self._buffer)))

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(batch_cuts(self.shown, self._batch_size, workers=1)) - 1

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch, from the next one on."""
        n = len(self._buffer)
        order = torch.randperm(n, generator=generator(self._seed, "memory", self.epoch))
        order = order[torch.arange(self.shown) % n]
        cuts = batch_cuts(self.shown, self._batch_size, workers=1).tolist()
        spans = list(pairwise(cuts))
        for step in range(self.next, len(spans)):
            self.next = step + 1
            if self.next == len(spans):
                self.epoch, self.next = self.epoch + 1, 0
            yield self._batch(order[slice(*spans[step])])

    def _batch(self, slots: Tensor) -> Batch:
        rows = self._buffer.read(slots)
        return Batch(rows["x"], rows["y"], rows.get("task_id"))


class MemoryPhase(Phase):
    """Stands in for a phase of the stream that has been read. The online score stays in the stream's phase."""

    def __init__(self, stream: Phase, train: MemoryLoader) -> None:
        self.index, self.task_id, self.task_classes = stream.index, stream.task_id, stream.task_classes
        self.train, self.validation = train, stream.validation  # type: ignore[assignment]
        self.online = stream.online
        self._stream = stream

    def score(self, predictions: Tensor, batch: Batch) -> None:
        """Count nothing: the stream has shown these samples before."""

    def state_dict(self) -> State:
        """The position in the memory, and the state of the stream's phase."""
        return {"memory": self.train.state_dict(), "stream": self._stream.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Go on inside the phase."""
        self.train.load_state_dict(state["memory"])
        self._stream.load_state_dict(state["stream"])


@dataclass
class GDumb(BufferOptions, LightningMethod):
    """Keep a greedily balanced sample of the stream; train on it from scratch at the end of each phase (algorithm 1).

    The stream is read once, whatever its `passes`; nothing is learned before the end of a phase.

    Sampler and learner differ from the paper's. Its sampler takes no more than M / K samples of a class, even while
    slots are free; here other classes use them. Its learner makes 256 passes over the memory, in batches of 16, with
    CutMix, and clips gradients at 10. Its cosine schedule has warm restarts, between the rates 0.05 and 0.0005. Here
    there are `memory_passes` passes, with one cosine and neither CutMix nor clipping.
    """

    target = ContinualSetting
    composition: ClassVar[Composition] = Composition.NEVER

    optimizer: Choice = OPTIMIZERS.chosen(Sgd(momentum=0.9))  # algorithm that updates the weights
    lr_schedule: Choice = LR_SCHEDULES.chosen("cosine")  # how the learning rate moves within a phase
    memory_passes: int = 50  # passes over the stored samples

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_buffer_options()
        check_range(self, "memory_passes", 1, 1_000_000)

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.check_place()
        size = self.own_share(self.run.saved_by)
        buffer = self.make_buffer("buffer", setting.seed, GreedyBalanced(), "uniform", **size)
        self.buffer = self.add_state("buffer", buffer, buffer=True)
        self._batch_size = setting.batch_size

    @override
    def fit(self, phase: Phase) -> None:
        """Store, then train on what is stored."""
        seed = derive_seed(self.setting.seed, "memory", phase.index, rank())
        loader = MemoryLoader(self.buffer, self._batch_size, self.memory_passes, seed)
        if self.run.checkpoint_to_resume(phase.index) is None:
            self._collect(phase)
            loader.open()
            with preserved_random_state():  # which differs between workers, where new weights do not
                self.reset_network()
        super().fit(MemoryPhase(phase, loader))

    def _collect(self, phase: Phase) -> None:
        self.heads.learn(phase.task_classes)
        for batch in phase.train:
            if batch.first_pass:
                shown = batch.task_id if self.heads.active else None
                scores = self.predict(batch.x, shown)
                phase.score(scores.argmax(1), batch)
                self._add(batch)

    def _add(self, batch: Batch) -> None:
        on_gpu = self.is_on_gpu(self.device)
        moved = batch.to(self.device) if on_gpu else batch
        add_incoming(self.buffer, Step(moved, batch, batch.first_pass, moved), on_gpu=on_gpu)
