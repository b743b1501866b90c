"""The Lightning strategy for asynchronous distributed rehearsal.

What happens to one training batch, in the order in which Lightning calls the hooks:

1. `batch_to_device` notes the samples as the loader gave them, in a new `BatchRecord`.
2. `on_train_batch_start` takes the replayed samples that were fetched during the step before. It proposes the incoming
   samples to the buffer and writes them, unless something is still missing of them.
3. `training_step` merges both, and runs the module's `training_step`. Then it writes samples that were not written yet.
4. `backward` weighs the loss.
"""

import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry
from pytorch_lightning.utilities.types import STEP_OUTPUT
from torch import Tensor
from torch.distributed import ReduceOp
from torch.optim.optimizer import Optimizer
from typing_extensions import override

from redwood.buffers.distributed.async_buffer import AsyncRehearsalBuffer
from redwood.buffers.distributed.peers import lost_workers, nccl_group
from redwood.buffers.policies import Policy
from redwood.buffers.pytree import Tree, flatten, structure_of, unflatten
from redwood.buffers.samplers import Sampler
from redwood.buffers.strategy.arguments import check_arguments
from redwood.buffers.strategy.batches import (
    BatchRecord,
    in_new_containers,
    labels_of,
    merged,
    stored_part,
    tasks_of,
    tensors_of,
)
from redwood.buffers.strategy.checkpoints import BufferCheckpoints, local_path, new_token
from redwood.buffers.strategy.hooks import is_called_by, no_gradients, overridden_hook, refuse_dataloader_iter
from redwood.buffers.strategy.uneven_inputs import EvenLoader, MoreBatches, even_loader
from redwood.core.errors import BufferInputError
from redwood.core.state import State

NAME = "async_rehearsal"
BUFFER_SIZE, REPLAY = 1000, 8

Said = TypeVar("Said")


class AsyncRehearsalStrategy(DDPStrategy):
    """Data-parallel training on one device or many, with rehearsal that hides behind the training steps.

    `Trainer(strategy=AsyncRehearsalStrategy(buffer_size=10_000, replay=8))` is all that a LightningModule needs. Once
    this class is imported, `Trainer(strategy="async_rehearsal")` makes one with default options.

    The module's `training_step` gets the incoming samples, followed by samples that are replayed: each of them drawn
    from what all workers stored. Callbacks, the hooks `on_train_batch_*` and evaluation see the incoming batch alone.
    Before `backward` the loss is multiplied by `AsyncRehearsalBuffer.weight`, so that the gradient is that of the mean
    over the samples of all workers, though some workers may have fewer samples.

    Samples are stored as the loader gives them; replayed ones go through `on_after_batch_transfer` again. All tensors
    of a batch are stored. Other values, such as a list of names, stay as they came: they describe the incoming samples.

    Attributes:
        memory: The buffer. To use it in another `fit`, pass it to the next strategy as `buffer=`.
    """

    strategy_name = NAME

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
        timeout: timedelta | None = None,
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
            directory: Folder of the file of the tier `mmap`.
            seed: Seed of all decisions.
            overlap: False: exchange within the step.
            labels: Finds the labels (B,) of a batch, for policies and samplers that need classes.
            tasks: Finds the tasks (B,) of a batch, for samplers that need tasks.
            extras: Names of further leaves of a sample that the module hands in with `add_extras`.
            buffer: The `memory` of an earlier strategy, to be used instead of a new one.
            timeout: How long to wait for other workers, in all collectives; default: as torch's.
            **strategy: Passed on to `DDPStrategy`.

        Raises:
            ValueError: If an argument is out of range.
            TypeError: If there is no argument of that name, or it is of another kind.
        """
        check_arguments(type(self), strategy, buffer=buffer, extras=extras, timeout=timeout, labels=labels, tasks=tasks)
        if timeout is not None:
            strategy["timeout"] = timeout
        super().__init__(**strategy)
        self.memory = buffer or AsyncRehearsalBuffer(
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
        self._labels, self._tasks, self._extra_names = labels, tasks, tuple(extras)
        self._exchange_timeout = timeout
        self._checkpoints = BufferCheckpoints(self.memory, timeout)
        self._more_batches = MoreBatches(timeout)
        self._loader: EvenLoader | None = None
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
        self._record.extras = {name: leaf.detach() for name, leaf in extras.items()}

    # What a subclass may change.

    def samples_of(self, batch: Tree) -> Tree:
        """The part of a batch that is stored and replayed: a tree of tensors (B, ...); default: all its tensors."""
        return tensors_of(batch)

    def merge(self, batch: Tree, replayed: Tree) -> Tree:
        """The batch to train on: `batch`, and replayed samples as `samples_of` returned them."""
        return merged(batch, replayed)

    def is_offered(self, batch: Tree) -> bool:
        """Whether the samples of a batch are to be stored as well."""
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
        """Whether samples are written after the forward pass: it adds leaves, or is to be launched on the GPU first."""
        return bool(self._extra_names) or self.root_device.type == "cuda"

    def log_costs(self) -> None:
        """Log the costs of rehearsal, as often as the Trainer logs."""
        trainer = self._trainer
        every: int = getattr(trainer, "log_every_n_steps", 1)
        if trainer.loggers and trainer.global_step and trainer.global_step % every == 0:
            costs = {f"rehearsal/{name}": value for name, value in self.memory.profiler.costs().items()}
            costs["rehearsal/stored"] = len(self.memory.buffer)
            for logger in trainer.loggers:
                logger.log_metrics(costs, step=trainer.global_step)

    # Before training. One device needs neither processes nor a process group.

    @property
    def _module(self) -> LightningModule:
        assert self.lightning_module is not None
        return self.lightning_module

    @property
    def _trainer(self) -> Trainer:
        return self._module.trainer

    @property
    def _is_single_process(self) -> bool:
        return self.num_processes * self.num_nodes == 1

    @override
    def _configure_launcher(self) -> None:
        if not self._is_single_process:
            super()._configure_launcher()

    @override
    def setup_environment(self) -> None:
        super().setup_environment()
        if self._trainer.state.fn == "fit":
            refuse_dataloader_iter(self._module)
            device = self.root_device
            self.memory.open(device=device, rows_group=nccl_group(device), timeout=self._exchange_timeout)

    @override
    def setup_distributed(self) -> None:
        if self._is_single_process:
            self.set_world_ranks()
        else:
            super().setup_distributed()

    @override
    def configure_ddp(self) -> None:
        if not self._is_single_process:
            with lost_workers():
                super().configure_ddp()

    @override
    def setup(self, trainer: Trainer) -> None:
        if not self._is_single_process or trainer.state.fn == "fit":
            super().setup(trainer)
            return
        # Evaluation on one device has no weights to take over from another worker.
        assert self.accelerator is not None
        assert self.model is not None
        self.accelerator.setup(trainer)
        self.precision_plugin.convert_module(self.model)
        self.model_to_device()
        self.setup_precision_plugin()

    @override
    def process_dataloader(self, dataloader: object) -> object:
        dataloader = super().process_dataloader(dataloader)
        loop = self._trainer.fit_loop
        is_for_training = self._trainer.training and (loop._combined_loader is None or loop._should_reload_train_dl)
        if is_for_training and not self._is_single_process:
            dataloader = even_loader(dataloader, self._more_batches.exchange)
            self._loader = dataloader if isinstance(dataloader, EvenLoader) else None
        return dataloader

    # A training step.

    @override
    def batch_to_device(self, batch: Tree, device: torch.device | None = None, dataloader_idx: int = 0) -> Tree:
        if self._trainer.training and self.memory.peers is not None:
            self.write_rest()
            self._record = self._new_record(batch)
        return super().batch_to_device(batch, device, dataloader_idx)

    def _new_record(self, batch: Tree) -> BatchRecord:
        is_repeated = self._loader is not None and self._loader.take()
        if batch is None:
            return BatchRecord(None, None, is_repeated)
        # On the host, `on_after_batch_transfer` may change the tensors that are stored in place.
        copied = self.root_device.type == "cpu" and self._transfer_hook() is not None
        samples = in_new_containers(stored_part(self.samples_of(batch)), copied=copied)
        return BatchRecord(samples, structure_of(samples), is_repeated)

    @override
    def on_train_batch_start(self, batch: Tree, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        record = self._record
        assert record is not None
        samples, record.samples = record.samples, None
        if self._trainer.fit_loop._skip_backward:  # batch-norm statistics of averaged weights: no step of training
            return
        record.replayed = self.memory.collect()
        self.memory.propose(
            samples,
            labels=self._labels(samples),
            tasks=self._tasks(samples),
            offered=not record.is_repeated and self.is_offered(batch),
            counted=not record.is_repeated,
        )
        # A buffer on the GPU stores samples from there, unless a hook has changed them there.
        from_host = not self.memory.on_gpu or self._transfer_hook() is not None
        record.batch, record.unwritten = batch, samples if from_host else self.samples_of(batch)
        self.log_costs()
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
        if record.replayed is not None:
            batch = self.merge(batch, self._as_transferred(record))
        with lost_workers():
            output = super().training_step(batch, *args, **kwargs)
        self.write_rest()
        return output

    def _as_transferred(self, record: BatchRecord) -> Tree:
        """The samples to replay, as the hook `on_after_batch_transfer` returns them."""
        replayed, hook = record.replayed[0] if self._extra_names else record.replayed, self._transfer_hook()
        if hook is None:
            return replayed
        if record.transferred is None:  # an optimizer may run the training step several times
            leaves = iter([leaf for _, leaf in flatten(replayed)])  # a loaded buffer does not know types of tuples
            record.transferred = hook(unflatten(record.structure, leaves), 0)
        return record.transferred

    @override
    def backward(self, closure_loss: Tensor, optimizer: Optimizer | None, *args: object, **kwargs: object) -> Tensor:
        if self._record is not None and self._record.extras.keys() == set(self._extra_names):
            self.write_rest()  # manual optimisation: this is called from within training_step
        weight = self.memory.weight()
        if weight != 1.0:
            closure_loss = closure_loss * weight
        with lost_workers(), no_gradients(self._module) if weight == 0.0 else nullcontext():
            return super().backward(closure_loss, optimizer, *args, **kwargs)

    def _transfer_hook(self) -> Callable[[Tree, int], Tree] | None:
        return overridden_hook(self._trainer, "on_after_batch_transfer")

    # After training.

    @override
    def on_train_end(self) -> None:
        super().on_train_end()
        self.write_rest()
        self.memory.flush()
        self._checkpoints.wait()

    @override
    def on_exception(self, exception: BaseException) -> None:
        # The other workers learn of it at once, and end as well.
        self._record = None
        self.memory.abort()
        self._more_batches.leave()
        self._checkpoints.wait_after_error()
        super().on_exception(exception)

    @override
    def teardown(self) -> None:
        self.memory.close()
        self._more_batches.leave()
        self._checkpoints.close()
        super().teardown()

    # Checkpoints, with the buffer beside them.

    @override
    def save_checkpoint(self, checkpoint: State, filepath: str | Path, storage_options: object = None) -> None:
        """Save a checkpoint with the buffer; it appears once it is complete, in place of an older one of its name.

        Checkpoints of callbacks are written while training goes on; `Trainer.save_checkpoint` returns once it is there.
        """
        save = super().save_checkpoint
        if "optimizer_states" not in checkpoint or not hasattr(self.memory, "buffer"):  # weights alone, or no training
            self._checkpoints.wait()  # it may be of the same name
            save(checkpoint, filepath, storage_options)
            return
        path = local_path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        token = self.broadcast(new_token())
        self.write_rest()
        self._checkpoints.save(checkpoint, path, token, lambda place: save(checkpoint, place, storage_options))
        if self.memory.peers is None:  # training is over: there is nothing to hide behind
            self._checkpoints.wait()
            self._checkpoints.close()
        elif not is_called_by(self._trainer.checkpoint_callbacks):
            self._checkpoints.wait()

    def wait_for_checkpoints(self) -> None:
        """Wait until all checkpoints that callbacks have saved so far are complete.

        Raises:
            WorkerLostError: If another worker was lost meanwhile.
        """
        self._checkpoints.wait()

    @override
    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> State:
        self._checkpoints.wait()
        checkpoint: State = super().load_checkpoint(checkpoint_path, weights_only)
        fitting = self._trainer.state.fn == "fit"
        if fitting and not self._checkpoints.load(checkpoint, local_path(checkpoint_path)):
            warnings.warn(f"The checkpoint {checkpoint_path} holds no rehearsal buffer; it starts empty.", stacklevel=2)
        return checkpoint

    @override
    def remove_checkpoint(self, filepath: str | Path) -> None:
        remove = super().remove_checkpoint
        if self.is_global_zero:
            self._checkpoints.remove(local_path(filepath), lambda: remove(filepath))

    # Collectives: waiting for a lost worker ends with a `WorkerLostError`.

    @override
    def barrier(self, *args: object, **kwargs: object) -> None:
        with lost_workers():
            super().barrier(*args, **kwargs)

    @override
    def broadcast(self, obj: Said, src: int = 0) -> Said:
        with lost_workers():
            return super().broadcast(obj, src)

    @override
    def reduce(self, tensor: Tensor, group: object = None, reduce_op: ReduceOp | str | None = "mean") -> Tensor:
        with lost_workers():
            return super().reduce(tensor, group, reduce_op)

    @override
    def all_gather(self, tensor: Tensor, group: object = None, sync_grads: bool = False) -> Tensor:
        with lost_workers():
            return super().all_gather(tensor, group, sync_grads)


if NAME not in StrategyRegistry:
    StrategyRegistry.register(NAME, AsyncRehearsalStrategy, description=AsyncRehearsalStrategy.__doc__ or "")
