"""The processes that a test has started: others stay alive for the whole session, see `tests.workers`."""

import multiprocessing
from multiprocessing.process import BaseProcess

import pytest

_earlier: set[BaseProcess] = set()


@pytest.fixture(autouse=True)
def earlier_children() -> None:
    """Note which processes are there before the test; import it into the module of the test."""
    _earlier.clear()
    _earlier.update(multiprocessing.active_children())


def alive() -> list[BaseProcess]:
    """The living processes that the test has started."""
    return [process for process in multiprocessing.active_children() if process not in _earlier and process.is_alive()]
