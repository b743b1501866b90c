import gc
import multiprocessing
import os
import signal
import warnings
import zlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import first_imports  # noqa: F401  # before Lightning
from tests.fork_server import TestServer, start_context
from tests.workers import GlooWorkers, TwoWorkers, give_memory_back

# `pytest -n 2 -m quick`: a minute on two idle cores. The files test_*.py of each folder that find the most faults per
# second of test time, in code that every run uses. Other files are not even imported.
QUICK = {
    "core": "checks files overrides registry schema seeding state",
    "settings": "assumptions information_hiding phase results sharded_stream supervised_stream tree",
    "settings/streams": "batch_cuts loader order partition read_ahead tasks",
    "settings/scores": "evaluation label_sets metrics slices",
    "settings/data": "combine files views",
    "settings/rl": "environment metrics",
    "buffers": "buffer layout randomness slot_groups storage",
    "buffers/policies": "class_quota herding loss_aware reservoir",
    "buffers/samplers": "balanced counts random_subsets uniform",
    "methods": "base",
    "methods/replay": "agem der der_pp er_ace mir",
    "methods/regularisation": "ewc mas rwalk si",
    "methods/distillation": "icarl losses lwf",
    "methods/training": "heads optimizers schedules step",
    "engine": "checkpoints cost fingerprint folder loop names progress run",
    "experiments": "arguments options plan tables",
}
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


def mark_all_but_few(items: list[pytest.Item]) -> None:
    """Mark the cases of a test as slow, all but as many as its marker `few` says, which lie apart in all parameters.

    Cases that are slow by themselves do not count.
    """
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("few") and not item.get_closest_marker("slow"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for group in cases.values():
        marker = group[0].get_closest_marker("few")
        assert marker is not None
        (n,) = marker.args
        kept = {(place * len(group) // n + place) % len(group) for place in range(n)}
        for number, item in enumerate(group):
            if number not in kept:
                item.add_marker("slow")


def is_quick(path: Path) -> bool:
    """Whether a file is one of `QUICK`."""
    root = Path(__file__).parent
    if not path.is_relative_to(root):
        return False
    folder = path.relative_to(root).parent.as_posix()
    return path.stem.removeprefix("test_") in QUICK.get(folder, "").split()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what has no quick tests where only these are chosen: to import all tests takes half a minute."""
    if config.getoption("markexpr") != "quick" or collection_path.is_dir() or collection_path.name == "conftest.py":
        return None
    return None if is_quick(collection_path) else True


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Mark the slow and the quick tests; after -m has chosen, choose those of today."""
    mark_all_but_few(items)
    for item in items:
        if is_quick(item.path) and not item.get_closest_marker("slow"):
            item.add_marker("quick")
    yield
    if config.getoption("--today"):
        turn = int(os.environ[DAY]) % DAYS
        has_turn = {item: zlib.crc32(item.nodeid.encode()) % DAYS == turn for item in items}
        items[:] = [item for item, turns in has_turn.items() if turns]
        config.hook.pytest_deselected(items=[item for item, turns in has_turn.items() if not turns])


def pytest_collection_finish() -> None:
    """Look for no garbage in tests and libraries: they are a million objects, and stay."""
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_warning_recorded(warning_message: warnings.WarningMessage) -> None:
    """Name the class of a warning in its text, since the process that collects all reports would import its module."""
    kind = warning_message.category
    if kind.__module__ != "builtins":
        warning_message.message = UserWarning(f"{kind.__name__}: {warning_message.message}")
        warning_message.category = UserWarning


@pytest.fixture(scope="module", autouse=True)
def memory_for_others(gloo_workers: GlooWorkers) -> Iterator[None]:
    """Give memory back to the system after each file, since some ten processes of a test run live at once."""
    yield
    gloo_workers.end_idle()
    give_memory_back()


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
