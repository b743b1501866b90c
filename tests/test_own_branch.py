"""A branch in a package of its own, installed by pip: it is everywhere where redwood's own branches are."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import invalidate_caches
from pathlib import Path

import pytest

from redwood.cli import main
from redwood.core import branches

PACKAGE = Path(__file__).parents[1] / "examples" / "own_branch"
CROWD = ["--setting", "crowd", "--nb_tasks", "2", "--passes", "1"]


def forget() -> None:
    """Forget which packages are installed."""
    invalidate_caches()
    branches.forget_entry_points()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip has installed the package into."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(PACKAGE, folder / "source")  # pip leaves its files in the source
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(folder / "site"), str(folder / "source")], check=True)
    return folder / "site"


@pytest.fixture(autouse=True)
def outside(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder outside of the checkout, with the package installed."""
    monkeypatch.syspath_prepend(installed)
    monkeypatch.chdir(tmp_path)
    forget()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "redwood_crowd"]:
        del sys.modules[name]
    monkeypatch.undo()
    forget()


def test_it_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    records = {record["key"]: record for record in json.loads(capsys.readouterr().out)}
    assert records["crowd"]["parents"] == ["class_incremental"]
    assert "labels_of_crowd" in records["crowd"]["assumptions"]
    assert {"small_loss", "rehearsal", "ewc"} <= set(records["crowd"]["methods"])
    assert "small_loss" not in records["class_incremental"]["methods"]


def test_help_offers_the_options_of_the_chosen_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*CROWD[:2], "--method", "small_loss", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(option in text for option in ("--members", "--worst", "--keep"))
    assert "--error_rate" not in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([*CROWD, "--method", "small_loss", "--error_rate", "0.1"], "--error_rate belongs to --members alike"),
        ([*CROWD, "--method", "small_loss", "--worst", "2"], "--worst 2.0 has to be at least 0 and at most 1"),
        ([*CROWD, "--method", "small_loss", "--keep", "0"], "--keep 0.0 has to be at least 0.01"),
        (["--setting", "class_incremental", "--method", "small_loss"], "targets CrowdSetting"),
        ([*CROWD, "--method", "finetune", "--dataset", "multi_label"], "A crowd gives each sample one"),
    ],
)
def test_errors_name_its_parts(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("error: ") and sentence in told


def test_a_run_its_report_and_a_resumed_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert main([*CROWD, "--method", "small_loss+rehearsal", "--members", "alike", "--run_dir", "run"]) == 0
    assert "wrong labels (%)" in capsys.readouterr().out
    before = json.loads((folder / "results.json").read_text())
    assert before["results"][0] == "redwood_crowd.results:CrowdResults"
    assert len(before["wrong_labels"]) == 4 and 0.1 < sum(before["wrong_labels"]) / 4 < 0.2
    assert (folder / "wrong_labels.png").stat().st_size > 1000
    assert main(["report", "run"]) == 0
    assert "small_loss" in (folder / "report.html").read_text()
    (folder / "results.json").unlink()
    assert main(["resume", "run"]) == 0
    after = json.loads((folder / "results.json").read_text())
    assert after["accuracy_matrix"] == before["accuracy_matrix"]
    assert after["wrong_labels"] == before["wrong_labels"]


def test_its_stream_serves_other_settings(capsys: pytest.CaptureFixture[str]) -> None:
    pair = ["--setting", "domain_incremental", "--method", "finetune", "--passes", "1", "--nb_tasks", "3"]
    assert main([*pair, "--stream", "by_member"]) == 0
    assert "task 2" in capsys.readouterr().out


def test_a_process_finds_it(installed: Path, tmp_path: Path) -> None:
    """Nothing of the tests above but the installation is needed."""
    done = subprocess.run(
        [sys.executable, "-m", "redwood", "list"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "small_loss" in done.stdout


@pytest.mark.parametrize(
    ("value", "sentence"),
    [("nosuch.table:BRANCH", "cannot be loaded from nosuch.table:BRANCH"), ("json:dumps", "is no redwood.core")],
)
def test_a_broken_table_is_told(
    value: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    info = tmp_path / "broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[redwood.branches]\nbroken = {value}\n")
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    assert main(["list"]) == 2
    assert f"The branch broken of an installed package {sentence}" in capsys.readouterr().err
