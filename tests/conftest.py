import multiprocessing
import os
import signal
import zlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import first_imports  # noqa: F401  # before Lightning
from tests.fork_server import TestServer, start_context
from tests.workers import GlooWorkers, TwoWorkers

# `pytest -n 2 -m quick`: a minute and a half on two idle cores. Tests in these folders, except the ones that start
# processes or take long for what they show; test_pairs.py and test_rl_pairs.py mark one run of every method.
QUICK_FOLDERS = ("core", "settings", "buffers", "methods", "branches", "engine", "experiments")
NOT_QUICK = (
    "buffers/distributed",
    "buffers/strategy",
    "buffers/test_memory.py",
    "buffers/test_statistics.py",
    "buffers/test_tiers.py",
    "methods/agents/test_resume.py",
    "methods/agents/test_task_input.py",
    "branches/modular/test_library.py",
    "branches/modular/test_mntdp.py",
    "branches/modular/test_side_by_side.py",
    "methods/replay/test_async_rehearsal.py",
    "methods/replay/test_buffer_options.py",
    "methods/replay/test_rehearsal_options.py",
    "methods/test_accuracy.py",
    "engine/figures",
    "engine/test_lock.py",
    "engine/test_processes.py",
    "engine/test_resume.py",
    "settings/test_eval_tasks.py",
    "settings/test_regression.py",
)
STARTS_PROCESSES = {"gloo_workers", "two_workers", "quick_processes"}


DAYS = 40  # in which all tests take turns under `--today`
DAY = "REDWOOD_TEST_DAY"  # the variable that tells all processes of a test run which day it is


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--today`."""
    text = f"of the tests that are chosen, run those whose turn it is today: one in {DAYS}, each within {DAYS} days"
    parser.addoption("--today", action="store_true", help=text)


def pytest_configure() -> None:
    """Undo what a shell does to jobs in the background and `nohup` does: tests send these signals."""
    os.environ.setdefault(DAY, str(date.today().toordinal()))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Mark tests as `quick` by their folder; after -m has chosen, choose those of today."""
    root = Path(__file__).parent
    for item in items:
        if not item.path.is_relative_to(root) or item.get_closest_marker("slow"):
            continue
        name = item.path.relative_to(root).as_posix()
        uses = set(getattr(item, "fixturenames", ()))
        if name.startswith(QUICK_FOLDERS) and not name.startswith(NOT_QUICK) and not uses & STARTS_PROCESSES:
            item.add_marker("quick")
    yield
    if config.getoption("--today"):
        turn = int(os.environ[DAY]) % DAYS
        has_turn = {item: zlib.crc32(item.nodeid.encode()) % DAYS == turn for item in items}
        items[:] = [item for item, turns in has_turn.items() if turns]
        config.hook.pytest_deselected(items=[item for item, turns in has_turn.items() if not turns])


@pytest.fixture
def quick_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have runs start their workers without seconds of imports."""
    replaced = SimpleNamespace(get_context=lambda _: start_context(), parent_process=multiprocessing.parent_process)
    monkeypatch.setattr("redwood.engine.processes.multiprocessing", replaced)


@pytest.fixture(scope="session", autouse=True)
def one_fork_server() -> Iterator[None]:
    """Have comparisons start their jobs from the server that tests use, which has imported the libraries already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("redwood.experiments.launchers.pool.ForkServer", lambda *_: TestServer())
        yield


@pytest.fixture(scope="session")
def gloo_workers() -> Iterator[GlooWorkers]:
    with GlooWorkers() as workers:
        yield workers


@pytest.fixture(scope="session")
def two_workers(gloo_workers: GlooWorkers) -> TwoWorkers:
    return TwoWorkers(gloo_workers)
