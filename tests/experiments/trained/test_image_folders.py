"""Runs on a user's images, and other images for them."""

import csv

import pytest

from redwood.cli import main
from redwood.settings.results import Results
from tests.images import class_folders

OPTIONS = ["--passes", "1", "--accelerator", "cpu"]
TWO = {"dent": 4, "ok": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on images of 12 x 8 pixels in two months."""
    folder = tmp_path_factory.mktemp("images")
    for month in ("2024-01", "2024-02"):
        class_folders(folder / "photos" / month, TWO, size=(12, 8))
    pair = ["--setting", "domain_incremental", "--method", "finetune", "--dataset", str(folder / "photos")]
    assert main([*pair, *OPTIONS, "--run_dir", str(folder / "run")]) == 0
    return folder / "run"


def test_further_images_of_another_size_are_brought_to_that_of_the_run(run, tmp_path, capsys):
    class_folders(tmp_path / "later" / "2024-03", TWO, size=(20, 20))
    class_folders(tmp_path / "later" / "2024-04", TWO, size=(20, 20))
    more = ["--dataset", str(tmp_path / "later"), "--run_dir", str(tmp_path / "run"), "--accelerator", "cpu"]
    assert main(["--extend", str(run), *more]) == 0
    assert "20 x 20 pixels, brought to 12 x 8 pixels as in the run before" in capsys.readouterr().out
    results = Results.load(tmp_path / "run" / "results.json")
    assert results.task_names == ["2024-01", "2024-02", "2024-03", "2024-04"]
    assert results.class_names == ["dent", "ok"]


@pytest.mark.parametrize("options", [["--dataset", "{}"], ["--dataset", "image_folder", "--data_dir", "{}"]])
def test_images_of_another_size_are_predicted(run, tmp_path, options):
    class_folders(tmp_path / "new", {"dent": 5, "ok": 5}, size=(20, 20))
    options = [option.format(tmp_path / "new") for option in options]
    assert main(["--predict", str(run), *options, "--out", str(tmp_path / "out.csv"), "--accelerator", "cpu"]) == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        assert {row["class"] for row in csv.DictReader(file)} <= {"dent", "ok"}
