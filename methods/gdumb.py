"""GDumb (Prabhu et al., 2020, "GDumb: A Simple Approach that Questions Our Progress in Continual Learning")."""

from dataclasses import dataclass
from typing import ClassVar

from redwood.buffers import GreedyBalanced, Policy
from redwood.methods.base import Composition
from redwood.methods.memory.buffered import BufferedMethod
from redwood.methods.memory.memory_phase import MemoryLoader, MemoryPhase
from redwood.settings.base import Setting
from redwood.settings.batch import Batch
from redwood.settings.checks import check_range
from redwood.settings.continual import ContinualSetting
from redwood.settings.phase import Phase
from redwood.settings.seeding import derive_seed, preserved_random_state
from redwood.settings.workers import rank


@dataclass
class GDumb(BufferedMethod):
    """Keep a greedily balanced sample of the stream (Algorithm 1); at the end of each phase train on it from scratch.

    The stream is read once, whatever its `passes`; nothing is learned before the end of a phase.
    """

    target = ContinualSetting
    composition: ClassVar[Composition] = Composition.NEVER

    momentum: float = 0.9  # momentum of sgd
    lr_schedule: str = "cosine"  # constant or cosine (to zero at the end)
    memory_passes: int = 50  # times that the stored samples are gone through

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "memory_passes", 1)

    def policy(self) -> Policy:
        """The greedy sampler of the paper."""
        return GreedyBalanced()

    def configure(self, setting: Setting) -> None:
        """Build the network and an empty buffer."""
        super().configure(setting)
        self._batch_size: int = setting.batch_size  # type: ignore[attr-defined]

    def fit(self, phase: Phase) -> None:
        """Store, then train on what is stored."""
        seed = derive_seed(self.setting.seed, "memory", phase.index, rank())
        loader = MemoryLoader(self.buffer, self._batch_size, self.memory_passes, seed)
        if self.checkpoint_inside(phase) is None:
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
                self._keep(batch)

    def _keep(self, batch: Batch) -> None:
        on_device = self.module.transfer_batch_to_device(batch, self.device, 0)
        self.store(self.buffer, on_device, {})
