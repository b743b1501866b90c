"""How tests start processes: as copies of one that has imported the large libraries, which takes seconds, before."""

import multiprocessing
import os
from multiprocessing.context import ForkServerContext

# Nothing of redwood, so that a job finds it as a fresh process does.
_LARGE = ["torch", "torchvision", "pytorch_lightning", "torchmetrics", "sklearn", "stable_baselines3"]


def start_context() -> ForkServerContext:
    """Where processes and pipes come from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LARGE)
    return context


def become_worker(rank: int) -> None:
    """Have Lightning take this process for a worker that somebody else has started."""
    from lightning_utilities.core.rank_zero import rank_zero_only

    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", RANK=str(rank))
    vars(rank_zero_only)["rank"] = rank  # it has looked at these when it was imported
