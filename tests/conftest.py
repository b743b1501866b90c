import signal
from collections.abc import Iterator

import pytest

from tests.workers import GlooWorkers, TwoWorkers


def pytest_configure() -> None:
    """Undo what a shell does to jobs in the background and `nohup` does: tests send these signals."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def gloo_workers() -> Iterator[GlooWorkers]:
    with GlooWorkers() as workers:
        yield workers


@pytest.fixture(scope="session")
def two_workers(gloo_workers: GlooWorkers) -> TwoWorkers:
    return TwoWorkers(gloo_workers)
