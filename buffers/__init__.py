"""Rehearsal buffers: a bounded memory of past samples that are replayed beside new ones. Needs torch alone.

`RehearsalBuffer` puts together three parts, each replaceable:

Storage
    `RowStorage`: preallocated rows on a GPU, in pinned or plain host memory, or in a memory-mapped file.
Policies
    Which samples are kept, and where: `POLICIES`.
Samplers
    Which stored rows form a draw: `SAMPLERS`.
"""

from redwood.buffers.buffer import RehearsalBuffer
from redwood.buffers.errors import StorageError
from redwood.buffers.layout import RowLayout
from redwood.buffers.policies import (
    POLICIES,
    ClassBalancedReservoir,
    GreedyBalanced,
    Herding,
    LossAwareReservoir,
    PartitioningReservoir,
    PerClassRandom,
    Policy,
    Reservoir,
    Ring,
    herd,
)
from redwood.buffers.samplers import (
    SAMPLERS,
    ClassBalanced,
    Grasp,
    MaximallyInterfered,
    OldTasks,
    Sampler,
    TaskBalanced,
    Uniform,
)
from redwood.buffers.storage import RowStorage
from redwood.buffers.tiers import TIERS

__all__ = [
    "POLICIES",
    "SAMPLERS",
    "TIERS",
    "ClassBalanced",
    "ClassBalancedReservoir",
    "Grasp",
    "GreedyBalanced",
    "Herding",
    "LossAwareReservoir",
    "MaximallyInterfered",
    "OldTasks",
    "PartitioningReservoir",
    "PerClassRandom",
    "Policy",
    "RehearsalBuffer",
    "Reservoir",
    "Ring",
    "RowLayout",
    "RowStorage",
    "Sampler",
    "StorageError",
    "TaskBalanced",
    "Uniform",
    "herd",
]
