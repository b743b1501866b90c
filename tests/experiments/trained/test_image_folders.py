"""Runs on a user's images, and other images for them."""

import csv
import shutil

import pytest

from redwood.cli import main
from redwood.settings.scores.results import Results
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
    assert main(["extend", str(run), *more]) == 0
    assert "20 x 20 pixels, brought to 12 x 8 pixels as in the run before" in capsys.readouterr().out
    results = Results.load(tmp_path / "run" / "results.json")
    assert results.task_names == ["2024-01", "2024-02", "2024-03", "2024-04"]
    assert results.class_names == ["dent", "ok"]


def test_a_single_further_month_is_named_by_its_folder(run, tmp_path):
    class_folders(tmp_path / "2024-03", TWO, size=(12, 8))
    more = ["--dataset", str(tmp_path / "2024-03"), "--run_dir", str(tmp_path / "run"), "--accelerator", "cpu"]
    assert main(["extend", str(run), *more]) == 0
    assert Results.load(tmp_path / "run" / "results.json").task_names == ["2024-01", "2024-02", "2024-03"]


def test_a_folder_around_a_single_further_month_is_that_month(run, tmp_path):
    class_folders(tmp_path / "june" / "2024-06", TWO, size=(12, 8))
    more = ["--dataset", str(tmp_path / "june"), "--run_dir", str(tmp_path / "run"), "--accelerator", "cpu"]
    assert main(["extend", str(run), *more]) == 0
    assert Results.load(tmp_path / "run" / "results.json").task_names == ["2024-01", "2024-02", "2024-06"]


def test_months_of_the_run_among_the_further_ones_are_told(run, tmp_path):
    for month in ("2024-02", "2024-03"):
        class_folders(tmp_path / "photos" / month, TWO, size=(12, 8))
    more = ["--dataset", str(tmp_path / "photos"), "--run_dir", str(tmp_path / "run"), "--accelerator", "cpu"]
    with pytest.warns(UserWarning, match=r"^photos has 1 of the tasks .* \(2024-02\); they are learned again"):
        assert main(["extend", str(run), *more]) == 0


@pytest.mark.parametrize("setting", ["domain_incremental", "class_incremental"])
def test_a_month_that_was_put_beside_those_of_the_run(tmp_path, recwarn, setting):
    """Earlier months are tested as before; what lies beside them is left out, whatever classes it has."""
    for month in ("2024-01", "2024-02"):
        class_folders(tmp_path / "photos" / month, TWO, size=(12, 8))
    photos, options = tmp_path / "photos", [*OPTIONS, "--run_dir"]
    pair = ["--setting", setting, "--method", "finetune", "--dataset", str(photos)]
    assert main([*pair, *options, str(tmp_path / "run")]) == 0
    class_folders(photos / "2024-03", TWO | {"rust": 4}, size=(12, 8))
    more = ["--dataset", str(photos / "2024-03")]
    assert main(["extend", str(tmp_path / "run"), *more, *options, str(tmp_path / "march")]) == 0
    results = Results.load(tmp_path / "march" / "results.json")
    assert results.task_names == ["2024-01", "2024-02", "2024-03"] and results.class_names == ["dent", "ok", "rust"]
    assert not [w for w in recwarn if "cannot be read" in str(w.message)]
    shutil.rmtree(photos / "2024-01")
    assert main(["extend", str(tmp_path / "run"), *more, *options, str(tmp_path / "alone")]) == 0
    assert Results.load(tmp_path / "alone" / "results.json").task_names == ["2024-03"]


@pytest.mark.parametrize(("around", "inside"), [("dent", TWO), ("2024-06", {"rust": 4, "bent": 4})])
def test_a_folder_around_a_class_or_other_classes_is_no_month(run, tmp_path, capsys, around, inside):
    class_folders(tmp_path / "june" / around, inside, size=(12, 8))
    more = ["--dataset", str(tmp_path / "june"), "--run_dir", str(tmp_path / "run"), "--accelerator", "cpu"]
    assert main(["extend", str(run), *more]) == 2
    assert "two folders of classes at least are needed, found 1" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--dataset", "{}"], ["--dataset", "image_folder", "--data_dir", "{}"]])
def test_images_of_another_size_are_predicted(run, tmp_path, options):
    class_folders(tmp_path / "new", {"dent": 5, "ok": 5}, size=(20, 20))
    options = [option.format(tmp_path / "new") for option in options]
    assert main(["predict", str(run), *options, "--out", str(tmp_path / "out.csv"), "--accelerator", "cpu"]) == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        assert {row["class"] for row in csv.DictReader(file)} <= {"dent", "ok"}


class TestAccuracy:
    """Folders with the names of classes tell the labels, whatever folders stand around them."""

    def said(self, run, folder, capsys):
        out = folder.parent / "out.csv"
        assert main(["predict", str(run), "--dataset", str(folder), "--out", str(out), "--accelerator", "cpu"]) == 0
        with out.open(newline="") as file:
            return list(csv.DictReader(file)), capsys.readouterr().out

    @pytest.mark.parametrize("around", ["", "2024-03", "test/2024-03"])
    def test_of_any_layout(self, run, tmp_path, capsys, around):
        class_folders(tmp_path / "new" / around, TWO, size=(12, 8))
        rows, said = self.said(run, tmp_path / "new", capsys)
        right = sum(row["class"] in row["sample"].split("/") for row in rows)
        assert f"8 predictions in {tmp_path / 'out.csv'}, accuracy {100 * right / 8:.2f} %\n" in said

    def test_of_each_month(self, run, tmp_path, capsys):
        lines = ""
        for month in ("month 9", "month 10"):
            class_folders(tmp_path / "new" / month, TWO, size=(12, 8))
        rows, said = self.said(run, tmp_path / "new", capsys)
        for month in ("month 9", "month 10"):
            own = [row["class"] in row["sample"].split("/") for row in rows if row["sample"].startswith(month)]
            lines += f"\n  {month}: accuracy {100 * sum(own) / 8:.2f} % of 8"
        assert f"{lines}\n" in said

    def test_of_classes_that_are_shared(self, tmp_path, capsys):
        class_folders(tmp_path / "photos", {name: 4 for name in ("ant", "bee", "cow", "eel")}, size=(12, 8))
        pair = ["--setting", "domain_incremental", "--method", "finetune", "--nb_tasks", "2"]
        run = ["--dataset", str(tmp_path / "photos"), "--run_dir", str(tmp_path / "run")]
        assert main([*pair, *run, *OPTIONS]) == 0
        rows, said = self.said(tmp_path / "run", tmp_path / "photos", capsys)
        right = sum(row["sample"].split("/")[0] in row["class"].split(" / ") for row in rows)
        assert f", accuracy {100 * right / 16:.2f} %\n" in said

    def test_others_are_counted_as_wrong_and_told(self, run, tmp_path, capsys):
        class_folders(tmp_path / "new", TWO | {"rust": 4}, size=(12, 8))
        rows, said = self.said(run, tmp_path / "new", capsys)
        right = sum(row["class"] == row["sample"].split("/")[0] for row in rows)
        assert f", accuracy {100 * right / 12:.2f} %; 4 of them are of no class of the model\n" in said

    def test_without_any_class_there_is_a_reason(self, run, tmp_path, capsys):
        class_folders(tmp_path / "new", {"rust": 2, "bent": 2}, size=(12, 8))
        _, said = self.said(run, tmp_path / "new", capsys)
        assert "without an accuracy: no label is the name of a class of the model" in said


def test_columns_of_logs_have_the_names_of_the_tasks(run):
    with (run / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["phase"]]
    assert [name for name in rows[0] if name.startswith("accuracy/")] == ["accuracy/2024-01", "accuracy/2024-02"]
    matrix = Results.load(run / "results.json").accuracy_matrix
    assert [[float(row["accuracy/2024-01"]), float(row["accuracy/2024-02"])] for row in rows] == matrix
