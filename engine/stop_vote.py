"""Workers decide together whether to stop, so that all of them end at the same step."""

import torch

from redwood.core.workers import sum_over_workers, world_size
from redwood.engine.signals import stop, stop_requested

# Several workers vote only every so many steps, since each vote costs a message.
STEPS_BETWEEN_VOTES = 10


class StopVote:
    """The vote of all workers on whether to stop between two steps because one of them received a signal."""

    def __init__(self, every: int = STEPS_BETWEEN_VOTES) -> None:
        """Vote at each `every`-th call; a call that stands for many steps may vote each time."""
        self._calls, self._every = 0, every

    def passed(self) -> bool:
        """Vote; every worker has to call this after the same steps."""
        self._calls += 1
        return (world_size() == 1 or self._calls % self._every == 0) and _any_worker_requested()


def stop_if_requested() -> None:
    """Raise `Stopped` if any worker received a signal that was postponed, or whose exception was lost.

    Every worker has to call this at the same point.
    """
    if _any_worker_requested():
        stop()


def _any_worker_requested() -> bool:
    return bool(sum_over_workers(torch.tensor(float(stop_requested()))))
