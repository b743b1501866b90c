"""`modules DIR`: what is in a module library."""

import json

import pytest
import torch

from redwood.branches.modular.library import ModuleLibrary
from redwood.cli import main
from redwood.engine.terminal import NOT_DEFINED
from tests.cli.command import assert_one_sentence

INPUTS = {"shape": [4], "dtype": "float32"}


@pytest.fixture
def library(tmp_path):
    """A library of three networks: the second is made from the first and shares a module with it."""
    library = ModuleLibrary(tmp_path / "library")

    def network(number, parent=None, reused=(), **more):
        new = library.add_module(
            {"weight": torch.full((2, 50), float(number))}, role="head", position=1, model="m", task=f"task {number}"
        )
        task = {"name": f"task {number}", "classes": [0, 1, 2], "samples": 9}
        return library.add_network(
            [*reused, new], model="m", inputs=INPUTS, task=task, parent=parent, reused=len(reused), **more
        )

    first = network(0, validation=0.875, cost={"training": 2e6, "search": 1e6})
    network(1)
    network(2, parent=first, reused=library.network(first).modules)
    return library


@pytest.fixture
def folder(library, tmp_path):
    return tmp_path / "library"


def listed(capsys, *arguments):
    assert main(["modules", *map(str, arguments)]) == 0
    output = capsys.readouterr()
    return output.out, output.err


def test_the_table_is_a_tree_with_totals(library, folder, capsys):
    out, err = listed(capsys, folder)
    rows = [line.split() for line in out.splitlines() if "task " in line][1:]
    keys = [record.key[:8] for record in library.networks()]
    assert err == ""
    assert [row[:-1] for row in rows] == [
        ["task", "0", keys[0], "3", "0", "of", "1", NOT_DEFINED, "87.5", "%", "3.00", "M"],
        ["└", "task", "2", keys[2], "3", "1", "of", "2", "task", "0", NOT_DEFINED, NOT_DEFINED],
        ["task", "1", keys[1], "3", "0", "of", "1", NOT_DEFINED, NOT_DEFINED, NOT_DEFINED],
    ]
    assert out.splitlines()[-1] == "3 networks, 3 modules, 300 parameters, 1.20 kB"
    assert (folder / "lineage.png").read_bytes().startswith(b"\x89PNG")


def test_json(library, folder, capsys):
    out, err = listed(capsys, folder, "--json")
    records = json.loads(out)
    assert err == "" and list(records) == ["networks", "modules"]
    assert [record["key"] for record in records["networks"]] == [record.key for record in library.networks()]
    assert records["modules"][0]["shapes"] == {"weight": [2, 50]}
    assert records["networks"][0]["cost"] == {"training": 2e6, "search": 1e6}


def test_a_damaged_file_is_a_warning_and_the_others_are_shown(library, folder, capsys):
    key = library.networks()[1].modules[0]
    (folder / "modules" / f"{key}.safetensors").write_bytes(b"short")
    with pytest.warns(UserWarning) as told:
        out, _ = listed(capsys, folder)
    assert "2 networks, 2 modules, 200 parameters" in out
    assert len(told) == 2 and all(key in str(warning.message) for warning in told)


def test_an_empty_library(tmp_path, capsys):
    ModuleLibrary(tmp_path / "new")
    assert listed(capsys, tmp_path / "new") == ("0 networks, 0 modules, 0 parameters, 0 B\n", "")
    assert not (tmp_path / "new" / "lineage.png").exists()


def test_many_networks_of_one_long_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("redwood.branches.modular.library_listing._MAX_DRAWN", 5)
    library, parent = ModuleLibrary(tmp_path / "long"), None
    module = library.add_module({}, role="network", position=0, model="m")
    for number in range(30):
        task = {"name": f"t{number}", "classes": [], "samples": 0}
        parent = library.add_network([module], model="m", inputs=INPUTS, task=task, parent=parent)
    out, _ = listed(capsys, tmp_path / "long")
    assert "└29 t29" in out and "lineage.png shows the newest 5 of 30 networks." in out


@pytest.mark.parametrize("where", ["missing", ".", "file"])
def test_a_folder_that_is_no_library(where, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert main(["modules", str(tmp_path / where)]) == 2
    error = capsys.readouterr().err
    assert_one_sentence(error)
    assert "is no module library" in error
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("more", [["--lr", "3"], ["stray"], ["--library", "x"]])
def test_other_options_are_refused(folder, capsys, more):
    assert main(["modules", str(folder), *more]) == 2
    assert_one_sentence(capsys.readouterr().err)


def test_where_the_picture_cannot_be_written_the_table_is_shown_all_the_same(library, folder, capsys):
    (folder / "lineage.png").mkdir()
    with pytest.warns(UserWarning, match=r"lineage\.png cannot be written \(Is a directory\)"):
        out, _ = listed(capsys, folder)
    assert "3 networks" in out
