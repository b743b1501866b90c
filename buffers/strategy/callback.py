"""A callback that adds asynchronous rehearsal to the strategy that a Trainer has."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
    Strategy,
)
from pytorch_lightning.strategies.single_xla import SingleDeviceXLAStrategy
from pytorch_lightning.strategies.xla import XLAStrategy
from torch import Tensor
from typing_extensions import override

from redwood.buffers.distributed.async_buffer import AsyncRehearsalBuffer
from redwood.buffers.pytree import Tree
from redwood.buffers.strategy.arguments import check_types
from redwood.buffers.strategy.batches import labels_of, tasks_of
from redwood.buffers.strategy.hooks import refuse_short_lived_workers
from redwood.buffers.strategy.rehearsal import RehearsalMixin
from redwood.core.errors import BufferInputError
from redwood.core.workers import TIMEOUT, raise_after_timeout

_SERVED = DDPStrategy, FSDPStrategy, ModelParallelStrategy, SingleDeviceStrategy
# They inherit from strategies that are served, but take gradients, weights and checkpoints out of their hands.
_REFUSED = DeepSpeedStrategy, XLAStrategy, SingleDeviceXLAStrategy


class AsyncRehearsalCallback(Callback):
    """Adds rehearsal to `Trainer(strategy="fsdp")`, or to that of DDP, model parallelism or a single device.

    When training begins, the class of the Trainer's strategy is replaced by one that inherits from `RehearsalMixin` and
    from that class, as `torch.distributed.fsdp.fully_shard` does with the class of a module. From then on the strategy
    does what `AsyncRehearsalStrategy` does: it replays samples, weighs the loss, and saves the buffer.

    Attributes:
        memory: The buffer; it stays when training is over, and goes on in another `fit`.
    """

    def __init__(
        self,
        memory: AsyncRehearsalBuffer,
        *,
        labels: Callable[[Tree], Tensor | None] = labels_of,
        tasks: Callable[[Tree], Tensor | None] = tasks_of,
        extras: Sequence[str] = (),
        timeout: timedelta | None = TIMEOUT,
    ) -> None:
        """Choose the buffer, which has to have the same options on all workers.

        Args:
            memory: The buffer; it must not be open.
            labels: See `RehearsalMixin`, as for `tasks`, `extras`, `timeout`.
            tasks: Finds the tasks (B,) of a batch.
            extras: Names of further leaves of a sample that the module hands in with `trainer.strategy.add_extras`.
            timeout: How long to wait for other workers when rows are exchanged or saved; None: as torch's defaults.

        Raises:
            TypeError: If an argument is of another kind.
        """
        raise_after_timeout()  # `setup` comes too late for it: Lightning has made the process group by then
        check_types(extras=extras, timeout=timeout, labels=labels, tasks=tasks)
        if not isinstance(memory, AsyncRehearsalBuffer):
            raise TypeError(f"memory is an AsyncRehearsalBuffer, got {memory!r}; write AsyncRehearsalBuffer(...).")
        self.memory = memory
        self._labels, self._tasks, self._extras, self._timeout = labels, tasks, extras, timeout

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Add rehearsal to the strategy, and open the buffer.

        Raises:
            ValueError: If the strategy is of another kind, or rehearses already, or its processes end with each `fit`.
        """
        strategy: Strategy = trainer.strategy
        if stage != "fit" or (isinstance(strategy, RehearsalMixin) and strategy.memory is self.memory):
            return  # the strategy of an earlier `fit` has opened the buffer
        refuse_short_lived_workers(strategy)
        _make_rehearse(strategy)
        assert isinstance(strategy, RehearsalMixin)
        strategy.rehearse(
            self.memory, labels=self._labels, tasks=self._tasks, extras=self._extras, timeout=self._timeout
        )
        strategy.join_workers()


@cache
def rehearsing(kind: type[Strategy]) -> type[Strategy]:
    """A class of strategies that do the same as those of `kind`, and rehearse."""
    return type(f"Rehearsing{kind.__name__}", (RehearsalMixin, kind), {})


def _make_rehearse(strategy: Strategy) -> None:
    kind = type(strategy)
    if isinstance(strategy, RehearsalMixin):
        raise BufferInputError(f"{kind.__name__} rehearses already; leave out AsyncRehearsalCallback or the strategy.")
    if not isinstance(strategy, _SERVED) or isinstance(strategy, _REFUSED):
        raise BufferInputError(
            f"AsyncRehearsalCallback cannot serve {kind.__name__}; choose the strategy ddp, fsdp, "
            "ModelParallelStrategy or a single device."
        )
    changed: Strategy = strategy
    try:
        changed.__class__ = rehearsing(kind)
    except TypeError as error:  # Python allows it where both classes lay out their objects alike
        raise BufferInputError(
            f"AsyncRehearsalCallback cannot serve {kind.__name__}; make it inherit from RehearsalMixin as well, and "
            "leave out the callback."
        ) from error
