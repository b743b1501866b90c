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
hasattr(redwood, "Naive"), redwood.RedwoodError, redwood.settings, redwood.methods
print(sorted({"torch", "matplotlib", "pytorch_lightning"} & set(sys.modules)))
redwood.Results, redwood.PairResults, redwood.Setting
print(sorted({"matplotlib", "pandas", "pytorch_lightning"} & set(sys.modules)))
"""


def test_dir_is_the_api():
    assert {name for name in dir(redwood) if not name.startswith("_")} == set(redwood.__all__)
    assert {"run", "compare", "resume", "load", "Results", "Comparison", "RedwoodError"} <= set(redwood.__all__)
    for name in redwood.__all__:
        assert getattr(redwood, name).__doc__, name
    assert "help(redwood.settings)" in redwood.__doc__ and "assumptions.promises()" in redwood.__doc__


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("rnu", ""),
        ("EWC", "; write redwood.methods.EWC"),
        ("class_incremental", "; write redwood.settings.ClassIncrementalSetting"),
        ("Naive", '; in redwood it is method="finetune"; give it to redwood.run'),
        (
            "gem",
            '; redwood has no gem; the nearest is method="agem", with one constraint for all tasks; give it to redwood'
            ".run",
        ),
        (
            "SplitCIFAR100",
            '; the number of tasks is an option; write dataset="cifar100", nb_tasks=10; give it to redwood.run',
        ),
        ("la_maml", "; redwood has no la_maml"),
        ("train", "; in redwood it is redwood.run(setting, method)"),
    ],
)
def test_another_name(name, told):
    with pytest.raises(AttributeError) as raised:
        getattr(redwood, name)
    assert str(raised.value) == f"module 'redwood' has no attribute {name!r}{told}"


def test_names_are_imported_when_they_are_used():
    done = subprocess.run([sys.executable, "-c", IMPORT], env=environment(), capture_output=True, text=True, timeout=60)
    assert (done.stdout.splitlines(), done.stderr) == (["[]", "[]", "[]"], "")
