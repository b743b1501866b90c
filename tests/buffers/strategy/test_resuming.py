"""T15: a run that was saved goes on as if it had not been interrupted."""

from pathlib import Path
from typing import Any

import pytest

from tests.buffers.strategy.save_callbacks import SavedRun, goes_on, resumed, saved
from tests.workers import GlooWorkers, TwoWorkers

EQUAL = [[4, 4, 4, 4, 2], [4, 4, 4, 4, 3]]
UNEQUAL = [[4, 4, 4], [4, 4, 4, 4, 2]]
ENDS, VALIDATION = "on_train_batch_end", "on_validation_end"
OPTIONS: list[dict[str, Any]] = [
    {},
    {"buffer_size": 500},
    {"candidates": 2, "buffer_size": 20},
    {"policy": "class_balanced", "sampler": "class_balanced", "buffer_size": 20},
    {"tier": "mmap"},
]


def placed(options: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The same options, with a folder if the tier needs one."""
    return {**options, "directory": str(directory)} if "tier" in options else options


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("step", "hook"), [(1, ENDS), (7, ENDS), (10, ENDS), (7, VALIDATION)])
@pytest.mark.few(5)
def test_one_worker(tmp_path: Path, options: dict[str, Any], step: int, hook: str) -> None:
    path, options = tmp_path / "a.ckpt", placed(options, tmp_path)
    whole = saved({step: path}, EQUAL, hook, options)
    training = {"val_check_interval": 2} if hook == VALIDATION else {}
    assert goes_on(whole, resumed(path, EQUAL, options, training), step)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("sizes", "step"), [(EQUAL, 1), (EQUAL, 7), (UNEQUAL, 2), (UNEQUAL, 7)], ids=str)
@pytest.mark.few(5)
def test_two_workers(
    two_workers: TwoWorkers, tmp_path: Path, options: dict[str, Any], sizes: list[list[int]], step: int
) -> None:
    path, options = tmp_path / "a.ckpt", placed(options, tmp_path)
    whole = two_workers.run(saved, {step: path}, sizes, ENDS, options)
    rest = two_workers.run(resumed, path, sizes, options, {})
    assert all(goes_on(*runs, step) for runs in zip(whole, rest, strict=True))


def test_before_the_first_step(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    whole = saved({0: path}, EQUAL, "on_train_start", {})
    assert goes_on(whole, resumed(path, EQUAL, {}, {}), 0)


def test_with_another_seed_the_old_one_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    whole = saved({7: path}, EQUAL, ENDS, {"seed": 3})
    assert goes_on(whole, resumed(path, EQUAL, {"seed": 4}, {}), 7)


@pytest.mark.parametrize("before", [1, 2])
def test_on_another_number_of_workers_all_rows_are_kept(gloo_workers: GlooWorkers, tmp_path: Path, before: int) -> None:
    path, after = tmp_path / "a.ckpt", 3 - before
    whole = gloo_workers.run(before, saved, {4: path}, EQUAL, ENDS, {})
    rest = gloo_workers.run(after, resumed, path, EQUAL, {}, {})
    assert _rows(rest) == _rows(whole)
    for run in rest:
        # The first step is augmented: the draw in flight is from what was stored.
        first = run.trained[0][-3:]
        assert set(first) <= set(_rows(whole))
        assert len(set(first)) == 3
        assert len(run.trained[0]) > 3


def _rows(runs: list[SavedRun]) -> list[int]:
    return sorted(number for run in runs for number in run.stored_then)
