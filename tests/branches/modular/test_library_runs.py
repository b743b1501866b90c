"""Runs that write to a library: at once, and killed and resumed. Nothing is there twice, and nothing is lost."""

import shutil
import signal
import time
from random import Random

import pytest

from redwood.branches.modular.library import ModuleLibrary
from redwood.cli import main
from tests.branches.modular.library_writers import problems
from tests.cli.command import assert_one_sentence
from tests.cli.kill_runs import Place, differences, exit_status, kill, session, stage, wait_until

METHODS = ["mntdp", "composable", "finetune_from"]
SHORT = ["--dataset", "digits", "--nb_tasks", "3", "--passes", "2", "--validation", "0.3", "--checkpoint_every", "5"]
KILLS = 10


def arguments(method, library, place, *more):
    pair = ["--setting", "task_incremental", "--method", method, "--library", str(library)]
    return [*pair, *SHORT, "--accelerator", "cpu", "--quiet", "--run_dir", str(place.run), *more]


def keys(folder):
    library = ModuleLibrary(folder)
    return sorted(record.key for record in [*library.modules(), *library.networks()])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_leaves_the_library_of_the_whole_one(method, tmp_path):
    folder, moment = tmp_path / "library", Random(0)
    ModuleLibrary(tmp_path / "empty")
    shutil.copytree(tmp_path / "empty", folder)
    whole = Place(tmp_path / "whole", "fork")
    leader = whole.start(*arguments(method, folder, whole))
    wait_until((whole.run / "config.yaml").exists, leader)
    start = time.monotonic()
    assert exit_status(leader) == 0, whole.log.read_text()
    seconds, expected = time.monotonic() - start, keys(folder)
    assert len(ModuleLibrary(folder).networks()) == 3
    folder.rename(tmp_path / "expected")
    unfinished = 0
    for number in range(KILLS):
        shutil.copytree(tmp_path / "empty", folder)
        place = Place(tmp_path / str(number), "fork")
        leader = place.start(*arguments(method, folder, place))
        wait_until((place.run / "config.yaml").exists, leader)
        time.sleep(moment.uniform(0, seconds))
        where = stage(place.run)
        for process in session(leader):
            kill(process, signal.SIGKILL)
        unfinished += exit_status(leader) != 0
        assert set(keys(folder)) <= set(expected)
        assert place.complete("resume", str(place.run)) == 0, place.log.read_text()
        assert differences(place.run, whole.run) == [], where
        assert (keys(folder), problems(folder, {})) == (expected, []), where
        folder.rename(tmp_path / f"library {number}")
    assert unfinished > KILLS // 2


@pytest.mark.slow
def test_a_run_is_not_resumed_with_another_library(tmp_path, capsys):
    """The library may have been moved; one that was deleted, or another one, would lead to other choices."""
    run = ["--setting", "task_incremental", "--method", "finetune_from", *SHORT[:2], "--nb_tasks", "2", "--passes", "2"]
    folder = tmp_path / "library"
    options = ["--validation", "0.3", "--library", str(folder), "--run_dir", str(tmp_path / "run"), "--quiet"]
    assert main([*run, *options, "--accelerator", "cpu"]) == 0
    (tmp_path / "run" / "results.json").unlink()
    folder.rename(tmp_path / "moved")
    assert main(["resume", str(tmp_path / "run")]) == 2
    assert "is not the library that this run began with" in capsys.readouterr().err
    config = tmp_path / "run" / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace(str(folder), "''"))
    assert main(["resume", str(tmp_path / "run")]) == 2
    assert_one_sentence(capsys.readouterr().err)
    config.write_text(text.replace(str(folder), str(tmp_path / "moved")))
    assert main(["resume", str(tmp_path / "run")]) == 0


@pytest.mark.slow
def test_runs_write_to_one_library_at_once(tmp_path):
    folder = tmp_path / "library"
    places = [Place(tmp_path / name, "fork") for name in ("a", "b", "c")]
    chosen = zip(places, (METHODS[0], METHODS[1], METHODS[0]), ("0", "1", "1"), strict=True)
    leaders = [place.start(*arguments(method, folder, place, "--seed", seed)) for place, method, seed in chosen]
    assert [exit_status(leader) for leader in leaders] == [0, 0, 0], [place.log.read_text() for place in places]
    listed = keys(folder)
    assert problems(folder, {}) == []
    assert 6 <= len(ModuleLibrary(folder).networks()) <= 9
    for place in places:
        assert place.complete("resume", str(place.run)) == 0  # is complete, and adds nothing
    assert keys(folder) == listed
