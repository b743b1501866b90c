"""Asynchronous distributed rehearsal for `pytorch_lightning`."""

from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry

from redwood.buffers.strategy.mixin import RehearsalMixin

NAME = "async_rehearsal"


class AsyncRehearsalStrategy(RehearsalMixin, DDPStrategy):  # type: ignore[misc]
    """Data-parallel training on one device or many, with rehearsal that hides behind the training steps.

    `Trainer(strategy=AsyncRehearsalStrategy(buffer_size=10_000, replay=8))` is all that a LightningModule needs. Once
    this class has been imported, `Trainer(strategy="async_rehearsal")` is it with default options. With one device,
    there is no process group. See `RehearsalMixin` for the options and for what happens in a step.
    """

    strategy_name = NAME


if NAME not in StrategyRegistry:
    StrategyRegistry.register(NAME, AsyncRehearsalStrategy, description=AsyncRehearsalStrategy.__doc__ or "")
