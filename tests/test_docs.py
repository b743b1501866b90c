"""What docs/streams.md shows works: its Python runs, and its commands run or, if they need files, are understood."""

import re
from pathlib import Path

import numpy as np
import pytest

from redwood.cli import main
from redwood.experiments.options import Pair, parse_options
from redwood.methods import METHODS, get_method
from redwood.settings.data.drift import CONTEXTS

TEXT = (Path(__file__).parent.parent / "docs" / "streams.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = re.findall(r"^python cli\.py (.*)$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("code", CODE, ids=["numbers", "backbone"])
def test_code(code):
    names = {}
    exec(code, names)
    metrics = names["results"].metrics
    assert metrics.get("average_rmse", 0) < 0.1
    assert metrics.get("average_accuracy", 1) > 0.85


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(60, 3))
    np.savez("mine.npz", x=x, y=x.sum(1))
    arguments = command.split()
    if "cifar10" in arguments:
        parse_options(Pair(arguments[1], arguments[3]), arguments[4:])
    else:
        assert main([*arguments, "--run_dir", "run", "--accelerator", "cpu"]) == 0
        assert (tmp_path / "run" / "results.json").exists()


def test_the_kinds_of_drift_and_their_contexts():
    assert dict(re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", TEXT, re.MULTILINE)) == {
        kind: str(n) for kind, n in CONTEXTS.items()
    }


def test_the_methods_that_predict_numbers():
    (sentence,) = re.findall(r"^- ([^-]*?) predict numbers", TEXT, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", sentence)) == {name for name in METHODS if get_method(name).regression}
