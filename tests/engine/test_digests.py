"""What a run records of itself."""

import os
import subprocess
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from redwood.core.digest import as_text, bytes_digest, digest
from redwood.core.files import read_json
from redwood.engine import digests
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings.scores.results import Results, installed_versions
from tests.small_runs import comparable, run_here, small_setting


@pytest.fixture(autouse=True)
def without_pictures():
    with patch("redwood.engine.figures.plots.draw_run"):
        yield


class Watched(Rehearsal):
    """Hashes what it is trained on itself."""

    def fit(self, phase):
        self.before = digest(self.network.state_dict())
        super().fit(phase)
        self.after = digest(self.network.state_dict())

    def augment(self, step):
        vars(self).setdefault("seen", {}).setdefault(self.phase.index, []).append(step.incoming)
        return super().augment(step)


def test_digests_are_of_what_was_trained_on_and_of_the_state(tmp_path):
    method = Watched()
    results = run_here(small_setting("class_incremental"), method, run_dir=str(tmp_path / "run"))
    phases = results.reproduction["phases"]
    assert len(phases) == 3
    for index, phase in enumerate(phases):
        found = 0
        for batch in method.seen[index]:
            found = bytes_digest(batch.y, bytes_digest(batch.x, found))
        assert phase["inputs"] == as_text(digest([found]))
    assert phases[-1]["state"]["network"] == as_text(digest([method.after]))
    assert phases[1]["state"]["network"] == as_text(digest([method.before]))
    assert len({phase["state"]["replay"] for phase in (*phases, {"state": results.reproduction["start"]})}) == 4
    assert results.reproduction["data"]["training samples"].startswith("160 of shape")


def test_results_keep_the_record(tmp_path):
    results = run_here(small_setting("class_incremental"), Rehearsal(), run_dir=str(tmp_path / "run"))
    assert Results.load(tmp_path / "run" / "results.json").reproduction == results.reproduction
    (sitting,) = results.reproduction["sittings"]
    assert sitting["from_phase"] == 0
    assert sitting["environment"].items() >= installed_versions().items()
    assert sitting["environment"].items() >= {"threads": 1, "workers": 1, "device": "cpu"}.items()


def test_a_run_without_a_folder_has_no_record_and_equal_scores(tmp_path):
    with_folder, without = (
        run_here(small_setting("class_incremental"), Rehearsal(), run_dir=folder)
        for folder in (str(tmp_path / "run"), None)
    )
    assert with_folder.reproduction and not without.reproduction
    assert comparable(with_folder) == comparable(without)


def test_nothing_is_drawn():
    torch.manual_seed(3)
    expected = torch.get_rng_state()
    reproduction = {}
    digests.start_sitting(reproduction, torch.device("cpu"), 0, None)
    digests.add_state(reproduction, {"a": torch.zeros(3), "b": {"c": {"d": 1}, "e": {}}})
    assert torch.equal(torch.get_rng_state(), expected)
    assert reproduction["start"].keys() == {"a", "b.c", "b.e"}


def run_on_worker(folder):
    with patch("redwood.engine.figures.plots.draw_run"):
        results = run_here(small_setting("class_incremental", workers=2), Rehearsal(), run_dir=str(folder))
    return results.reproduction


def test_workers_have_one_digest(two_workers, tmp_path):
    first, second = two_workers.run(run_on_worker, tmp_path / "run")
    assert first == second == read_json(tmp_path / "run" / "results.json")["reproduction"]
    alone = run_here(small_setting("class_incremental"), Rehearsal(), run_dir=str(tmp_path / "alone")).reproduction
    assert first["start"]["network"] == alone["start"]["network"]
    assert first["phases"][0]["inputs"] != alone["phases"][0]["inputs"]


def git(folder, *arguments):
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def test_the_checkout(tmp_path, monkeypatch):
    package, identity = tmp_path / "engine", ("-c", "user.name=a", "-c", "user.email=a@b")
    package.mkdir()
    monkeypatch.setattr(digests, "__file__", str(package / "digests.py"))
    monkeypatch.setenv("GIT_DIR", os.devnull)
    read = digests.checkout.__wrapped__
    with monkeypatch.context() as own:
        own.delenv("GIT_DIR")
        git(tmp_path, "init")
        git(tmp_path, *identity, "commit", "--allow-empty", "-m", "empty")
        (package / "__init__.py").write_text("")
        assert read() == ("", "")  # installed inside a checkout of something else
        git(tmp_path, "add", ".")
        git(tmp_path, *identity, "commit", "-m", "engine")
    commit, state = read()
    assert len(commit) == 40 and state == "clean"
    (package / "__init__.py").write_text("a = 1")
    _, first = read()
    (package / "__init__.py").write_text("a = 2")
    _, second = read()
    assert first != second and first.startswith("changed (") and second.startswith("changed (")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read() == ("", "")


def test_the_processor_has_a_name(monkeypatch):
    read = digests.processor.__wrapped__
    assert read()
    with patch.object(Path, "read_text", return_value="processor : 0\nmodel name\t: Fast: 3\nmodel name\t: Fast: 3\n"):
        assert read() == "Fast: 3"
    with patch.object(Path, "read_text", side_effect=FileNotFoundError):
        assert read()
