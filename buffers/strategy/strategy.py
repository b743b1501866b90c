"""The Lightning strategies for asynchronous distributed rehearsal."""

from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy, StrategyRegistry
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import override

from redwood.buffers.distributed.peers import lost_workers
from redwood.buffers.strategy.rehearsal import RehearsalMixin
from redwood.core.workers import world_size

NAME = "async_rehearsal"


class AsyncRehearsalStrategy(RehearsalMixin, DDPStrategy):
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
    wrapper = DistributedDataParallel

    # One device needs neither processes nor a process group.

    @property
    def _is_single_process(self) -> bool:
        # Ray Train makes the process group first, and tells the Trainer of one process in each worker.
        return self.num_processes * self.num_nodes == world_size() == 1

    @override
    def _configure_launcher(self) -> None:
        if not self._is_single_process:
            super()._configure_launcher()

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
    def on_exception(self, exception: BaseException) -> None:
        super().on_exception(exception)  # adds an advice that would do without rehearsal
        exception.args = tuple(
            part.replace("ddp_find_unused_parameters_true", UNUSED).replace("DDPStrategy(", "AsyncRehearsalStrategy(")
            if isinstance(part, str)
            else part
            for part in exception.args
        )

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


class AsyncRehearsalFSDPStrategy(RehearsalMixin, FSDPStrategy):
    """The same where weights are sharded by `FullyShardedDataParallel`; all workers train on different samples."""

    strategy_name = f"{NAME}_fsdp"
    wrapper = FullyShardedDataParallel


class AsyncRehearsalModelParallelStrategy(RehearsalMixin, ModelParallelStrategy):
    """The same where a module's `configure_model` shards it, by `fully_shard` (FSDP2) or tensor parallelism.

    The workers that share the buffer are those of the mesh dimension `data_parallel`. The workers of one replica, which
    differ in `tensor_parallel` alone, store and replay the same samples; their loaders have to yield the same ones.
    """

    strategy_name = f"{NAME}_model_parallel"


UNUSED = f"{NAME}_find_unused_parameters_true"


def _register() -> None:
    """Let `Trainer(strategy=...)` know the strategies by name, with default options of rehearsal."""
    kinds = AsyncRehearsalStrategy, AsyncRehearsalFSDPStrategy, AsyncRehearsalModelParallelStrategy
    for kind in kinds:
        StrategyRegistry.register(kind.strategy_name, kind, description=kind.__doc__ or "", override=True)
    text = f"{NAME} for modules with parameters that a step does not use"
    StrategyRegistry.register(UNUSED, AsyncRehearsalStrategy, text, override=True, find_unused_parameters=True)


_register()
