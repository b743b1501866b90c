import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def expects_few_samples() -> Iterator[None]:
    """The tasks of these tests are small, and a search that finds nothing to reuse says so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Task .* held-out samples")
        warnings.filterwarnings("ignore", message="No (task|module)")
        yield
