"""Experience replay (Chaudhry et al., 2019, "On Tiny Episodic Memories in Continual Learning")."""

from dataclasses import dataclass
from typing import Any

import torch

from redwood.buffers import ReservoirBuffer
from redwood.methods.lightning import LightningMethod
from redwood.settings.base import Setting
from redwood.settings.batch import Batch
from redwood.settings.checks import check_range
from redwood.settings.continual import ContinualSetting
from redwood.settings.errors import InvalidOptionError
from redwood.settings.seeding import derive_seed
from redwood.settings.workers import rank, world_size


@dataclass
class Rehearsal(LightningMethod):
    """Train on each mini-batch together with samples drawn from a reservoir of the stream so far (Algorithm 1).

    Each sample is offered to the reservoir in the first pass of each phase that holds it, so that the buffer is a
    uniform sample of the stream without its repeats. Under several workers each keeps an equal part of the buffer,
    filled from its shard.
    """

    target = ContinualSetting

    buffer_size: int = 200  # samples that the rehearsal buffer holds, over all workers
    replay: int = 32  # samples drawn from the buffer for each mini-batch

    def __post_init__(self) -> None:
        """Refuse sizes that are out of range."""
        super().__post_init__()
        check_range(self, "buffer_size", 1)
        check_range(self, "replay", 1)

    def configure(self, setting: Setting) -> None:
        """Build the network and an empty buffer."""
        super().configure(setting)
        if self.buffer_size < world_size():
            raise InvalidOptionError(f"--buffer_size {self.buffer_size} has to be at least --workers {world_size()}.")
        part, rest = divmod(self.buffer_size, world_size())
        self.buffer = ReservoirBuffer(part + (rank() < rest), seed=derive_seed(setting.seed, "buffer", rank()))

    def augment(self, batch: Batch) -> Batch:
        """The incoming samples followed by representatives from the buffer; the incoming ones are then remembered."""
        augmented = super().augment(batch)
        if len(self.buffer):
            drawn = self.buffer.sample(self.replay)
            ids = None if augmented.task_id is None else torch.cat([augmented.task_id, drawn["task_id"]])
            augmented = Batch(torch.cat([augmented.x, drawn["x"]]), torch.cat([augmented.y, drawn["y"]]), ids)
        if self.phase.train.first_pass:
            self.buffer.add(**batch.leaves())
        return augmented

    def state_dict(self) -> dict[str, Any]:
        """The network's state and the buffer."""
        return super().state_dict() | {"buffer": self.buffer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with an earlier network and buffer."""
        super().load_state_dict(state)
        self.buffer.load_state_dict(state["buffer"])
        self.buffer.to(self.device)

    def costs(self) -> dict[str, float]:
        """The costs of training, and the bytes of the buffer."""
        costs = super().costs()
        return costs | {"buffer_bytes": costs["buffer_bytes"] + self.buffer.nbytes}
