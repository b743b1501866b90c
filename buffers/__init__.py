"""Rehearsal buffers: a bounded memory of past samples that are replayed beside new ones. Needs torch and NumPy.

`RehearsalBuffer` puts together three parts, each replaceable:

Storage
    `RowStorage`: preallocated rows on a GPU, in pinned or plain host memory, or in a memory-mapped file.
Policies
    Which samples are kept, and where: `POLICIES`.
Samplers
    Which stored rows form a draw: `SAMPLERS`.

`AsyncRehearsalBuffer` spreads one over the workers of a data-parallel run, and `AsyncRehearsalStrategy` puts that into
a Lightning Trainer; it is the only part that needs Lightning, which is imported when it is asked for. That import gives
Lightning the names of the strategies, such as `async_rehearsal`; `import redwood.buffers` alone gives it none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from redwood.buffers.buffer import RehearsalBuffer
from redwood.buffers.distributed.async_buffer import SHARED, AsyncRehearsalBuffer
from redwood.buffers.distributed.components import check_policy, check_sampler
from redwood.buffers.layout import RowLayout
from redwood.buffers.policies import (
    POLICIES,
    CandidateInfo,
    ClassBalancedReservoir,
    GreedyBalanced,
    Herding,
    LossAwareReservoir,
    PartitioningReservoir,
    PerClassRandom,
    Placement,
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
from redwood.core.errors import BufferInputError, StorageError, WorkerLostError

if TYPE_CHECKING:
    from redwood.buffers.strategy.callback import AsyncRehearsalCallback
    from redwood.buffers.strategy.strategy import (
        AsyncRehearsalFSDPStrategy,
        AsyncRehearsalModelParallelStrategy,
        AsyncRehearsalStrategy,
    )

__all__ = [
    "POLICIES",
    "SAMPLERS",
    "SHARED",
    "TIERS",
    "AsyncRehearsalBuffer",
    "AsyncRehearsalCallback",
    "AsyncRehearsalFSDPStrategy",
    "AsyncRehearsalModelParallelStrategy",
    "AsyncRehearsalStrategy",
    "BufferInputError",
    "CandidateInfo",
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
    "Placement",
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
    "WorkerLostError",
    "check_policy",
    "check_sampler",
    "herd",
]


# These need Lightning, which is imported when one of them is first used.
_OF_LIGHTNING = {
    "AsyncRehearsalCallback": "callback",
    "AsyncRehearsalFSDPStrategy": "strategy",
    "AsyncRehearsalModelParallelStrategy": "strategy",
    "AsyncRehearsalStrategy": "strategy",
}


def __getattr__(name: str) -> Any:
    if name not in _OF_LIGHTNING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.strategy.{_OF_LIGHTNING[name]}"), name)
