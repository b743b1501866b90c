"""The collectives of a Lightning strategy, which say in one sentence that a worker is lost."""

from typing import Any

from redwood.buffers.distributed.peers import lost_workers


class CollectivesMixin:
    """Raises `WorkerLostError` where any Lightning strategy for data-parallel training waits for others in vain."""

    def configure_ddp(self) -> None:
        """Make the workers compare their parameters."""
        with lost_workers():
            super().configure_ddp()  # type: ignore[misc]

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        """Wait for all workers."""
        with lost_workers():
            super().barrier(*args, **kwargs)  # type: ignore[misc]

    def broadcast(self, *args: Any, **kwargs: Any) -> Any:
        """What one worker says."""
        with lost_workers():
            return super().broadcast(*args, **kwargs)  # type: ignore[misc]

    def reduce(self, *args: Any, **kwargs: Any) -> Any:
        """The mean or sum over workers."""
        with lost_workers():
            return super().reduce(*args, **kwargs)  # type: ignore[misc]

    def all_gather(self, *args: Any, **kwargs: Any) -> Any:
        """What all workers say."""
        with lost_workers():
            return super().all_gather(*args, **kwargs)  # type: ignore[misc]

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """The forward pass, in which DDP synchronises the module's buffers."""
        with lost_workers():
            return super().training_step(*args, **kwargs)  # type: ignore[misc]
