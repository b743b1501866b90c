"""Run folders that are kept at a URL. The places are folders here, which the code does not know from buckets."""

import time

import pytest

from redwood.core.errors import RedwoodError
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.launchers import run_storage
from redwood.experiments.launchers.jobs import Job
from redwood.experiments.launchers.run_storage import RunStorage


@pytest.fixture
def place(tmp_path):
    return RunStorage.of(tmp_path / "runs", f"file://{tmp_path}/bucket/")


@pytest.fixture
def job(tmp_path):
    return Job(Pair("class_incremental", "finetune"), (), 0, tmp_path / "runs" / "one")


def write(folder, **files):
    (folder / "checkpoints").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", "/").replace("_", ".")).write_text(text)


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_run_goes_on_from_what_was_kept(place, job, tmp_path):
    with place.kept(job) as here:
        assert here.folder != job.folder and here.group == "runs"
        write(here.folder, checkpoints__boundary_pt="after 1", metrics_csv="rows")
    assert not here.folder.exists() and not job.folder.exists()
    with place.kept(job) as here:
        assert (here.folder / "checkpoints/boundary.pt").read_text() == "after 1"
        write(here.folder, results_json="{}")
    place.fetch(job.folder)
    found = files_in(job.folder)
    assert found == {"checkpoints/boundary.pt": "after 1", "metrics.csv": "rows", "results.json": "{}", "log.txt": ""}
    assert place.started() == {"one"}


def test_what_is_gone_is_removed_and_locks_stay_here(place, job):
    with place.kept(job) as here:
        write(here.folder, checkpoints__inside_ckpt="1", _lock="", failure_json="{}")
    with place.kept(job) as here:
        assert (here.folder / "checkpoints/inside.ckpt").exists()
        assert not (here.folder / "failure.json").exists(), "a run that is tried again has not failed"
        (here.folder / "checkpoints/inside.ckpt").unlink()
    place.fetch(job.folder)
    assert files_in(job.folder) == {"log.txt": ""}


def test_it_is_kept_while_it_goes_on(place, job, monkeypatch):
    """A machine may be lost at any time."""
    monkeypatch.setattr(run_storage, "_EVERY_S", 0.01)
    with place.kept(job) as here:
        write(here.folder, checkpoints__boundary_pt="after 1")
        elsewhere = here.folder.parent / "one-elsewhere" / "one"
        deadline = time.monotonic() + 60
        while not (elsewhere / "checkpoints/boundary.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
            place.fetch(elsewhere)
        assert (elsewhere / "checkpoints/boundary.pt").read_text() == "after 1"


def test_results_are_kept_last_and_the_checkpoint_between_phases_first():
    names = ["results.json", "checkpoints/inside.ckpt", "checkpoints/boundary.pt"]
    assert sorted(names, key=run_storage._turn) == names[::-1]


def test_the_runs_of_one_folder_are_kept_in_one_place(place, tmp_path):
    again = RunStorage.of(tmp_path / "runs", f"file://{tmp_path}/bucket")
    assert again.url == place.url and place.url.startswith(f"file://{tmp_path}/bucket/runs-")
    assert RunStorage.of(tmp_path / "more" / "runs", f"file://{tmp_path}/bucket").url != place.url
    assert RunStorage.of(tmp_path / "runs", "").url == place.url, "a run that goes on is looked for where it was kept"
    assert RunStorage.of(tmp_path / "other", "") is None
    with pytest.raises(UsageError, match="is not where the runs in") as error:
        RunStorage.of(tmp_path / "runs", "s3://other")
    assert place.url in str(error.value)


@pytest.mark.parametrize("url", ["file:///proc/none", "unknown://bucket"])
def test_a_place_that_cannot_be_written(tmp_path, url):
    with pytest.raises(RedwoodError, match=f"--ray storage={url}/runs-.* cannot be written .*; check the URL"):
        RunStorage.of(tmp_path / "runs", url).check()
