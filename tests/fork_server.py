"""How tests start processes: as copies of one that has imported the large libraries, which takes seconds, before."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from typing import Any

from redwood.core.fork_server import Copy

# Little of redwood, so that a job finds it as a fresh process does.
_LARGE = ["tests.first_imports", "torch", "pytorch_lightning", "stable_baselines3", "tests.frozen"]


def start_context() -> ForkServerContext:
    """Where processes and pipes come from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LARGE)
    return context


class TestServer:
    """The server of the tests, in place of one of a pool's own."""

    __test__ = False

    def ensure_running(self) -> None:
        start_context()

    def start_process(self, target: Callable[..., object], args: tuple[Any, ...]) -> Copy:
        process = Copy(forkserver._forkserver, target, args)
        process.start()
        return process

    def stop(self) -> None:
        """Let it run for the tests to come."""


def become_worker(rank: int) -> None:
    """Have Lightning take this process for a worker that somebody else has started."""
    from lightning_utilities.core.rank_zero import rank_zero_only

    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", RANK=str(rank))
    vars(rank_zero_only)["rank"] = rank  # it has looked at these when it was imported
