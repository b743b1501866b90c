"""A folder in which the code and the commands of the pages can run."""

import shutil
from pathlib import Path

import pytest

from tests.docs.workshop import furnish, train


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    furnish(folder)
    train(folder)
    return folder


@pytest.fixture
def workshop(furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder with the files that the pages speak of, as the working directory."""
    folder = tmp_path / "pages"
    shutil.copytree(furnished, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder
