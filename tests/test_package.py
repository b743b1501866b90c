"""The package itself: its names, and what their import costs."""

import subprocess
import sys

import pytest

import redwood
from tests.cli.command import environment

# Prints the heavy libraries that an import has loaded.
IMPORT = """
import sys
import redwood
dir(redwood)
print(sorted({"torch", "numpy", "matplotlib", "pandas", "rich", "pytorch_lightning"} & set(sys.modules)))
redwood.RedwoodError, redwood.settings, redwood.methods
print(sorted({"torch", "matplotlib", "pytorch_lightning"} & set(sys.modules)))
redwood.Results, redwood.PairResults, redwood.Setting
print(sorted({"matplotlib", "pandas", "pytorch_lightning"} & set(sys.modules)))
"""


def test_dir_is_the_api():
    assert {name for name in dir(redwood) if not name.startswith("_")} == set(redwood.__all__)
    assert {"run", "compare", "load", "Results", "Comparison", "RedwoodError"} <= set(redwood.__all__)
    for name in redwood.__all__:
        assert getattr(redwood, name).__doc__, name


def test_another_name():
    with pytest.raises(AttributeError, match="module 'redwood' has no attribute 'rnu'"):
        _ = redwood.rnu


def test_names_are_imported_when_they_are_used():
    done = subprocess.run([sys.executable, "-c", IMPORT], env=environment(), capture_output=True, text=True, timeout=60)
    assert (done.stdout.splitlines(), done.stderr) == (["[]", "[]", "[]"], "")
