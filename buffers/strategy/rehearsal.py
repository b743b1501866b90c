"""Rehearsal in the training steps of any data-parallel Lightning strategy.

What happens to one training batch, in the order in which Lightning calls the hooks:

1. `batch_to_device` notes the samples as the loader gave them, in a new `BatchRecord`. They are copies where hooks and
   module get the same memory: these may change a batch in place, and the background reads it later.
2. `on_train_batch_start` takes the replayed samples that were fetched during the step before, and merges them with the
   incoming ones. It proposes these to the buffer and writes them, unless something is still missing of them.
3. `training_step` runs the module's `training_step`. Then it writes samples that were not written yet.
4. `backward` weighs the loss.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

import torch
from lightning_fabric.utilities.data import _set_sampler_epoch
from lightning_fabric.utilities.types import _Stateful
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy
from pytorch_lightning.utilities.exceptions import SIGTERMException
from pytorch_lightning.utilities.types import STEP_OUTPUT
from torch import Tensor
from torch.distributed import ReduceOp, get_process_group_ranks
from torch.optim.optimizer import Optimizer
from typing_extensions import override

from redwood.buffers.distributed.async_buffer import AsyncRehearsalBuffer
from redwood.buffers.distributed.peers import lost_workers
from redwood.buffers.merging import copied, merged, tensors_of
from redwood.buffers.policies import Policy
from redwood.buffers.pytree import Tree, flatten, structure_of, unflatten
from redwood.buffers.samplers import Sampler
from redwood.buffers.strategy.arguments import check_buffer, check_names, check_types
from redwood.buffers.strategy.batches import (
    BatchRecord,
    in_new_containers,
    labels_of,
    stored_part,
    tasks_of,
)
from redwood.buffers.strategy.checkpoints import BufferCheckpoints
from redwood.buffers.strategy.data_parallel import data_parallel_group, rows_group
from redwood.buffers.strategy.ending import CommonEnd
from redwood.buffers.strategy.hooks import (
    check_is_finite,
    no_gradients,
    overridden_hook,
    refuse_dataloader_iter,
    refuse_short_lived_workers,
)
from redwood.buffers.strategy.saving import BufferSaving
from redwood.buffers.strategy.uneven_inputs import EvenLoader, MoreBatches, even_loader
from redwood.core.errors import BufferInputError
from redwood.core.torchrun import join_workers, meeting
from redwood.core.user_warnings import warn
from redwood.core.workers import TIMEOUT, raise_after_timeout, world_size

BUFFER_SIZE, REPLAY = 1000, 8

Said = TypeVar("Said")


class RehearsalMixin(BufferSaving):
    """Adds rehearsal to the training steps of a strategy, from which a class has to inherit behind this one.

    The workers that share the buffer are those that train on different samples: all of them, or those of one group of
    the mesh dimension `data_parallel`. Workers of one replica store and replay the same samples.

    Attributes:
        memory: The buffer. To use it in another `fit`, pass it to the next strategy as `buffer=`.
        wrapper: The class that the strategy wraps a module in, and passes arguments on to; None: no class.
    """

    wrapper: ClassVar[type | None] = None

    def __init__(
        self,
        buffer_size: int = BUFFER_SIZE,
        replay: int = REPLAY,
        candidates: int | None = None,
        *,
        policy: Policy | str | None = None,
        sampler: Sampler | str = "uniform",
        tier: str = "auto",
        directory: str | None = None,
        seed: int = 0,
        overlap: bool = True,
        labels: Callable[[Tree], Tensor | None] = labels_of,
        tasks: Callable[[Tree], Tensor | None] = tasks_of,
        extras: Sequence[str] = (),
        buffer: AsyncRehearsalBuffer | None = None,
        timeout: timedelta | None = TIMEOUT,
        **strategy: Any,
    ) -> None:
        """Choose the options, which have to be the same on all workers.

        Args:
            buffer_size: Samples stored, over all workers.
            replay: Replayed samples r added to each worker's batch.
            candidates: See `AsyncRehearsalBuffer`, as for `policy`, `sampler`, `tier`, `directory`, `seed`, `overlap`.
            policy: Chooses the samples to keep.
            sampler: Chooses the samples to draw.
            tier: Where samples are kept.
            directory: Folder of the files of the tiers `mmap` and `shared`.
            seed: Seed of all decisions.
            overlap: False: exchange within the step.
            labels: Finds the labels (B,) of a batch, for policies and samplers that need classes.
            tasks: Finds the tasks (B,) of a batch, for samplers that need tasks.
            extras: Names of further leaves of a sample that the module hands in with `add_extras`.
            buffer: The `memory` of an earlier strategy, to be used instead of a new one.
            timeout: How long to wait for other workers, in all collectives; default: five minutes. None: as torch's
                defaults, which are ten minutes for NCCL and thirty for gloo.
            **strategy: Passed on to the strategy of Lightning.

        Raises:
            ValueError: If an argument is out of range.
            TypeError: If there is no argument of that name, or it is of another kind.
        """
        check_names(type(self), self.wrapper, strategy)
        check_types(extras=extras, timeout=timeout, labels=labels, tasks=tasks)
        if buffer is not None:
            check_buffer(buffer)
        if timeout is not None:
            strategy["timeout"] = timeout
        super().__init__(**strategy)
        memory = buffer or AsyncRehearsalBuffer(
            buffer_size,
            replay=replay,
            candidates=candidates,
            policy=policy,
            sampler=sampler,
            tier=tier,
            directory=directory,
            seed=seed,
            overlap=overlap,
        )
        self.rehearse(memory, labels=labels, tasks=tasks, extras=extras, timeout=timeout)

    def rehearse(
        self,
        memory: AsyncRehearsalBuffer,
        *,
        labels: Callable[[Tree], Tensor | None],
        tasks: Callable[[Tree], Tensor | None],
        extras: Sequence[str],
        timeout: timedelta | None,
    ) -> None:
        """Replay from a buffer; for the arguments see `__init__`."""
        self.memory = memory
        self._labels, self._tasks, self._extra_names = labels, tasks, tuple(extras)
        self._exchange_timeout = timeout
        self._checkpoints = BufferCheckpoints(memory, timeout)
        self._more_batches = MoreBatches(timeout)
        self._common_end: CommonEnd | None = None
        self._loader: EvenLoader | None = None
        self._has_warned = False
        self._record: BatchRecord | None = None

    # What a module may use.

    @property
    def replayed(self) -> Tree:
        """The samples drawn for this step, as they were stored; None if there are none."""
        return None if self._record is None else self._record.replayed

    @property
    def replayed_extras(self) -> dict[str, Tensor]:
        """Of the replayed samples: the leaves (r, ...) that the module handed in when they were new."""
        replayed: tuple[Tree, dict[str, Tensor]] | None = self.replayed if self._extra_names else None
        return {} if replayed is None else replayed[1]

    def add_extras(self, **extras: Tensor) -> None:
        """Hand in further leaves (b, ...) of the incoming samples, from within `training_step`.

        Raises:
            ValueError: If the names are not the ones given as `extras=`.
        """
        if set(extras) != set(self._extra_names):
            raise BufferInputError(
                f"add_extras was given {', '.join(extras)}, but the strategy was made with "
                f"extras={self._extra_names!r}; give it the same names."
            )
        assert self._record is not None
        self._record.extras = {name: leaf.detach().clone() for name, leaf in extras.items()}

    # What a subclass may change.

    def samples_of(self, batch: Tree) -> Tree:
        """The part of a batch that is stored and replayed: a tree of tensors (B, ...); default: all its tensors."""
        return tensors_of(batch)

    def merge(self, batch: Tree, replayed: Tree) -> Tree:
        """The batch to train on: `batch`, and replayed samples as `samples_of` returned them."""
        return merged(batch, replayed)

    def is_offered(self, batch: Tree) -> bool:
        """True if the samples of a batch are to be stored as well."""
        return True

    def more_leaves(self, batch: Tree) -> dict[str, Tensor]:
        """Further leaves (b, ...) of the incoming samples of a batch, once their forward pass is over."""
        assert self._record is not None
        if self._record.extras.keys() != set(self._extra_names):
            raise BufferInputError(
                f"training_step has to hand in {', '.join(self._extra_names)} with strategy.add_extras."
            )
        return self._record.extras

    def rows_of(self, samples: Tree, more: dict[str, Tensor]) -> Tree:
        """The tree to store: samples as `samples_of` returned them, with further leaves."""
        return (samples, more) if self._extra_names else samples

    def _is_late(self) -> bool:
        """True if samples are written after the forward pass, which adds leaves to them."""
        return bool(self._extra_names)

    def log_costs(self) -> None:
        """Log the costs of rehearsal, as often as the Trainer logs."""
        trainer = self._trainer
        every: int = getattr(trainer, "log_every_n_steps", 1)
        if trainer.loggers and trainer.global_step and trainer.global_step % every == 0:
            costs = {f"rehearsal/{name}": value for name, value in self.memory.profiler.costs().items()}
            costs["rehearsal/stored"] = len(self.memory.buffer)
            for logger in trainer.loggers:
                logger.log_metrics(costs, step=trainer.global_step)

    # Before training.

    @property
    def _module(self) -> LightningModule:
        assert self.lightning_module is not None
        return self.lightning_module

    @property
    @override
    def _trainer(self) -> Trainer:
        return self._module.trainer

    @override
    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        refuse_short_lived_workers(self)

    @override
    def setup_environment(self) -> None:
        raise_after_timeout()
        with meeting():
            join_workers(self._backend, self._exchange_timeout)
            super().setup_environment()
        if self._trainer.state.fn == "fit":
            self.join_workers()

    def _backend(self) -> str:
        """The backend of the default process group."""
        backend: str = self._get_process_group_backend()  # type: ignore[attr-defined]
        return backend

    def join_workers(self) -> None:
        """Open the buffer between the workers that train on different samples, once there are process groups."""
        refuse_dataloader_iter(self._module)
        group = data_parallel_group(self)
        self._checkpoints.is_of_first_replica = group is None or 0 in get_process_group_ranks(group)
        device = self.root_device
        self.memory.open(
            group,
            device=device,
            rows_group=rows_group(group, device),
            timeout=self._exchange_timeout,
            accumulated=self._trainer.accumulate_grad_batches,
        )
        if world_size() > 1:
            self._common_end = CommonEnd(self._trainer, self.memory, self._ends)

    def _ends(self) -> bool:
        """True if a worker got SIGTERM, the same on all workers that have begun equally many steps."""
        if self.memory.world < world_size():  # workers of one replica exchange no counts
            return any(self._more_batches.exchange(self.memory.asks_for_end))
        return self.memory.ends

    @override
    def check_loaders(self) -> None:
        loop = self._trainer.fit_loop
        progress, loaders = loop.epoch_loop.batch_progress, loop._combined_loader
        if not progress.current.ready or progress.is_last_batch or loaders is None or self._has_warned:
            return
        is_ahead = bool(getattr(loop._data_fetcher, "batches", None))
        is_through = self._loader is not None and self._loader.is_repeating
        if is_ahead or is_through or not all(isinstance(loader, _Stateful) for loader in loaders.flattened):
            self._has_warned = True
            warn(
                "A checkpoint within an epoch does not hold the place of this train loader: a run that goes on from it "
                "trains on other batches in that epoch; save at the end of an epoch, or use a loader with a length and "
                "a state, such as torchdata's StatefulDataLoader."
            )

    @override
    def process_dataloader(self, dataloader: object) -> object:
        dataloader = super().process_dataloader(dataloader)
        loop = self._trainer.fit_loop
        is_for_training = self._trainer.training and (loop._combined_loader is None or loop._should_reload_train_dl)
        if is_for_training and world_size() > 1:
            dataloader = even_loader(dataloader, self._more_batches.exchange, self._has_one_loader)
            self._loader = dataloader if isinstance(dataloader, EvenLoader) else None
        if is_for_training:  # Lightning tells the sampler too late for a loader that goes on within an epoch
            _set_sampler_epoch(dataloader, loop.epoch_progress.current.processed)  # type: ignore[attr-defined]
        return dataloader

    def _has_one_loader(self) -> bool:
        combined = self._trainer.fit_loop._combined_loader
        return combined is None or len(combined.flattened) == 1

    # A training step.

    @override
    def batch_to_device(self, batch: Tree, device: torch.device | None = None, dataloader_idx: int = 0) -> Tree:
        if not self._trainer.training or self.memory.peers is None:
            self.memory.check_workers()
            return super().batch_to_device(batch, device, dataloader_idx)
        self.write_rest()
        self._record = record = self._new_record(batch)
        if not self.memory.on_gpu or batch is None:
            record.to_write = record.samples
            return super().batch_to_device(batch, device, dataloader_idx)
        # A buffer on the GPU stores the samples that are there: chosen on the host, they would wait for the GPU. The
        # method that is overridden calls these two hooks, the latter of which may change the samples.
        hook = self._module._call_batch_hook
        moved = hook("transfer_batch_to_device", batch, device or self.root_device, dataloader_idx)
        record.to_write = copied(self.samples_of(moved))
        return hook("on_after_batch_transfer", moved, dataloader_idx)

    def _new_record(self, batch: Tree) -> BatchRecord:
        is_repeated = self._loader is not None and self._loader.take()
        if batch is None:
            return BatchRecord(None, None, is_repeated)
        samples = stored_part(self.samples_of(batch))
        samples = copied(samples) if self.root_device.type == "cpu" else in_new_containers(samples)
        return BatchRecord(samples, structure_of(samples), is_repeated)

    @override
    def on_train_batch_start(self, batch: Tree, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        record = self._record
        assert record is not None
        samples, to_write = record.samples, record.to_write
        record.samples = record.to_write = None
        if self._trainer.fit_loop._skip_backward:  # batch-norm statistics of averaged weights: no step of training
            return
        record.replayed = self.memory.collect()
        if record.replayed is not None:
            record.merged = self.merge(batch, self._as_transferred(record))
        self.log_costs()
        with self.memory.together():
            self.memory.propose(
                samples,
                labels=self._labels(samples),
                tasks=self._tasks(samples),
                offered=not record.is_repeated and self.is_offered(batch),
                counted=not record.is_repeated,
            )
            record.batch, record.unwritten = batch, to_write
            if not self._is_late():
                self.write_rest()

    def write_rest(self) -> None:
        """Write the samples of this step, if that has not been done yet."""
        record = self._record
        if record is None or record.unwritten is None:
            return
        samples, record.unwritten = record.unwritten, None
        self.memory.write(self.rows_of(samples, self.more_leaves(record.batch)))

    @override
    def training_step(self, batch: Tree, *args: object, **kwargs: object) -> STEP_OUTPUT:
        record = self._record
        assert record is not None
        with lost_workers():  # an optimizer may run the training step several times
            output = super().training_step(batch if record.merged is None else record.merged, *args, **kwargs)
        self.write_rest()
        return output

    def _as_transferred(self, record: BatchRecord) -> Tree:
        """The samples to replay, as the hook `on_after_batch_transfer` returns them."""
        replayed, hook = record.replayed[0] if self._extra_names else record.replayed, self._transfer_hook()
        if hook is None:
            return replayed
        leaves = iter([leaf for _, leaf in flatten(replayed)])  # a loaded buffer does not know types of tuples
        return hook(unflatten(record.structure, leaves), 0)

    @override
    def backward(self, closure_loss: Tensor, optimizer: Optimizer | None, *args: object, **kwargs: object) -> Tensor:
        if self._record is not None and self._record.extras.keys() == set(self._extra_names):
            self.write_rest()  # manual optimisation: this is called from within training_step
        weight = self.memory.weight()
        if weight != 1.0:
            closure_loss = closure_loss * weight
        with lost_workers(), self._without_gradients(closure_loss) if weight == 0.0 else nullcontext():
            return super().backward(closure_loss, optimizer, *args, **kwargs)

    @override
    def optimizer_step(self, optimizer: Optimizer, closure: Callable[[], Any], *args: Any, **kwargs: Any) -> Any:
        """Step; if the GPU has no memory for it, make room and do it again, from the zero gradients it begins with."""

        def with_room() -> object:
            try:
                return closure()
            except torch.OutOfMemoryError:
                if self._trainer.accumulate_grad_batches > 1 or not self.memory.give_back():
                    raise
            return closure()

        return super().optimizer_step(optimizer, with_room, *args, **kwargs)

    def _without_gradients(self, loss: Tensor) -> AbstractContextManager[None]:
        """The context of a backward pass of weight 0."""
        if isinstance(self, FSDPStrategy | ModelParallelStrategy):
            check_is_finite(loss)
            return nullcontext()
        return no_gradients(self._module)

    def _transfer_hook(self) -> Callable[[Tree, int], Tree] | None:
        return overridden_hook(self._trainer, "on_after_batch_transfer")

    @override
    def on_validation_start(self) -> None:
        super().on_validation_start()
        if self._trainer.state.fn == "fit":
            if self._common_end is not None:
                self._common_end.no_more_steps()
            self.memory.begin_pause()

    @override
    def on_validation_end(self) -> None:
        super().on_validation_end()
        if self._trainer.state.fn == "fit":
            self.memory.end_pause()

    # After training.

    @override
    def on_train_end(self) -> None:
        super().on_train_end()
        self.write_rest()
        self.memory.flush()
        self._checkpoints.wait()
        if self._common_end is not None:
            self._common_end.no_more_steps()
            if self._trainer.received_sigterm:
                raise SIGTERMException

    @override
    def on_exception(self, exception: BaseException) -> None:
        # The other workers learn of it at once, and end as well.
        self._record = None
        self.memory.abort()
        self._more_batches.leave()
        # At a common end no worker is lost, and callbacks may have saved a checkpoint.
        is_common = self._common_end is not None and self._common_end.has_come
        self._checkpoints.wait_after_error(others_are_there=is_common)
        super().on_exception(exception)

    @override
    def teardown(self) -> None:
        self.memory.close()
        self._more_batches.leave()
        self._checkpoints.close()
        super().teardown()

    # Collectives: waiting for a lost worker ends with a `WorkerLostError`. A strategy of Lightning has bodies of them.

    @override
    def barrier(self, name: str | None = None) -> None:
        with lost_workers():
            super().barrier(name)  # type: ignore[safe-super]

    @override
    def broadcast(self, obj: Said, src: int = 0) -> Said:
        with lost_workers():
            return super().broadcast(obj, src)  # type: ignore[safe-super]

    @override
    def reduce(self, tensor: Tensor, group: object = None, reduce_op: ReduceOp | str | None = "mean") -> Tensor:
        with lost_workers():
            return super().reduce(tensor, group, reduce_op)  # type: ignore[safe-super]

    @override
    def all_gather(self, tensor: Tensor, group: object = None, sync_grads: bool = False) -> Tensor:
        with lost_workers():
            return super().all_gather(tensor, group, sync_grads)  # type: ignore[safe-super]
