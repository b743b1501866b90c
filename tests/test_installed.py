"""The version is the same everywhere, and what is built from the checkout runs without it."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import redwood
from redwood.experiments.runs.runner import RUNS

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_release_is_dated_and_cited_by_its_version():
    """After work on the next version has begun, the changelog has a section without a date on top."""
    (released, date) = re.findall(r"^## \[([\d.]+)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.M)[
        0
    ]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert redwood.__version__ == released == citation["version"]
    assert date == str(citation["date-released"])
    assert citation["license"] == PYPROJECT["project"]["license"]


def test_files_of_every_kind_in_the_packages_are_shipped():
    """Other kinds than those named in pyproject.toml would be missing from the wheel."""
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["redwood"]
    shipped = {pattern.removeprefix("**/*") for pattern in patterns if pattern.startswith("**/*.")}
    packages = ("branches", "buffers", "core", "experiments", "engine", "methods", "settings")
    files = [path for name in packages for path in (ROOT / name).rglob("*") if path.is_file()]
    others = {path for path in files if path.suffix not in {".py", ".pyc", *shipped}}
    assert len(files) > 300
    assert all(path.name.startswith("LICENSE") for path in others), others


def test_users_runs_are_written_to_no_package():
    """A run in the checkout would be shipped with the package, and be taken for its files."""
    packages = {path.name for path in (ROOT / "src" / "redwood").iterdir()}
    assert {"settings", "methods"} < packages
    assert RUNS.name not in packages
    assert f"/{RUNS.name}/" in (ROOT / ".gitignore").read_text().split()


@pytest.mark.slow
def test_wheel_and_sdist_run_in_a_fresh_environment(tmp_path, monkeypatch):
    pytest.importorskip("build")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    installed = importlib.import_module("installed")
    packages = installed.build(tmp_path, isolated=False)
    files = installed.content(packages.wheel)
    assert files == installed.content(packages.wheel_of_sdist)
    assert installed.links(packages.sdist) == []
    for path in (ROOT / "experiments").rglob("*.yaml"):
        assert files[f"redwood/{path.relative_to(ROOT).as_posix()}"] == path.read_bytes()
    python = installed.make_environment(tmp_path / "environment")
    installed.lend_packages(python)
    installed.install(packages.wheel, python, download=False)
    assert set(installed.use(python, tmp_path / "work")) == set(installed.COMMANDS)
    assert (tmp_path / "work" / "main" / "results.json").exists()
