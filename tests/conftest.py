from collections.abc import Iterator

import pytest

from tests.workers import TwoWorkers


@pytest.fixture(scope="session")
def two_workers() -> Iterator[TwoWorkers]:
    with TwoWorkers() as workers:
        yield workers
