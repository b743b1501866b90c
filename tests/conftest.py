from collections.abc import Iterator

import pytest

from tests.workers import GlooWorkers, TwoWorkers


@pytest.fixture(scope="session")
def gloo_workers() -> Iterator[GlooWorkers]:
    with GlooWorkers() as workers:
        yield workers


@pytest.fixture(scope="session")
def two_workers(gloo_workers: GlooWorkers) -> TwoWorkers:
    return TwoWorkers(gloo_workers)
