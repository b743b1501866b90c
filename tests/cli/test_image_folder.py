"""The layouts of an image folder, by the commands of their page."""

import json

import pytest

from redwood.cli import main
from tests.docs.blocks import CLI, COMMANDS
from tests.images import class_folders

CLASSES = {"cat": 3, "dog": 3}
FOLDERS = {
    "photos": {"photos": CLASSES},
    "photos_by_month": {"photos_by_month/2024-02": CLASSES, "photos_by_month/2024-01": CLASSES},
    "photos_mixed": {"photos_mixed/north": CLASSES, "photos_mixed/south": {"dog": 3, "fox": 3}},
}
SHORT = ["--passes", "1", "--accelerator", "cpu", "--run_dir", "run"]


@pytest.fixture
def answer(tmp_path, monkeypatch, capsys):
    """What the page's command about a folder answers: its exit code, and what it prints."""

    def run(name):
        for folder, counts in FOLDERS[name].items():
            class_folders(tmp_path / folder, counts)
        monkeypatch.chdir(tmp_path)
        (command,) = (c for c in COMMANDS if c.where.startswith("docs/data.md") and c.words[-1] == name)
        status = main([*command.words[len(CLI.split()) :], *SHORT])
        return status, capsys.readouterr()

    return run


def test_a_folder_per_class(answer, tmp_path):
    status, shown = answer("photos")
    assert status == 0
    assert shown.out.startswith("photos: 4 training and 2 test images of 2 classes (cat, dog), 8 x 8 pixels\n")
    assert sorted(json.loads((tmp_path / "run" / "results.json").read_text())["class_names"]) == ["cat", "dog"]


def test_a_folder_per_task(answer, tmp_path):
    status, shown = answer("photos_by_month")
    assert status == 0
    assert " of 2 classes (cat, dog) in 2 tasks (2024-01, 2024-02), 8 x 8 pixels\nphase 1/2: " in shown.out
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["class_names"], results["task_names"]) == (["cat", "dog"], ["2024-01", "2024-02"])


def test_any_other_layout_is_refused(answer, tmp_path):
    status, shown = answer("photos_mixed")
    assert status == 2 and not (tmp_path / "run").exists()
    assert shown.err == (
        "error: The folder photos_mixed is neither CLASS/file nor TASK/CLASS/file with the same classes in each task "
        "(north holds the folders cat, dog, and south dog, fox); make an empty folder for each class that a task "
        "lacks, or number the tasks in their order (2024-01, ...), which then may have different classes.\n"
    )
