"""Importing redwood does nothing but define things."""

import subprocess
import sys

from tests.cli.command import environment

# Lists, help and messages load the methods; what takes seconds to import is for those who train.
IMPORT_ALL = """
import builtins, os, pkgutil, random, socket, sys
import gymnasium, numpy, torch
from redwood.methods import METHODS, get_method
for name in METHODS:
    get_method(name)
print({"pytorch_lightning", "stable_baselines3"} & set(sys.modules), file=sys.stderr)
import pytorch_lightning

def refuse(*args, **kwargs):
    raise AssertionError("an import uses the network")

def state():
    return str([random.getstate(), numpy.random.get_state(), torch.get_rng_state().tolist(), os.getcwd(),
                os.environ.items(), torch.get_num_threads()])

socket.socket.connect = socket.getaddrinfo = refuse
before, loaded = state(), set(sys.modules)
import redwood
names = [info.name for info in pkgutil.walk_packages(redwood.__path__, "redwood.")]
for name in names:
    __import__(name)
assert state() == before
late = {"wandb", "continuum", "sklearn", "h5py", "matplotlib", "torchvision", "scipy", "yaml"}
print({name for name in late if name in sys.modules} - {name for name in late if name in loaded}, file=sys.stderr)
print(len(names), "redwood.methods.regularisation.ewc" in names, "redwood.settings.data.catalog" in names)
"""


def test_no_network_no_files_no_random_numbers_and_no_library_before_it_is_needed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT_ALL],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr.split()) == (0, ["set()", "set()"])
    count, *found = done.stdout.split()
    assert int(count) > 60 and found == ["True", "True"]
    assert list(tmp_path.iterdir()) == []
