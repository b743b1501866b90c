"""What ties a checkpoint to its run."""

from dataclasses import replace

import pytest
import torch

from redwood.core.errors import RedwoodError
from redwood.core.parts import all_options
from redwood.engine.fingerprint import Fingerprint, differences
from redwood.engine.may_change import MAY_CHANGE
from redwood.engine.run import Run
from redwood.settings.data.dataset import describe_data
from tests.samples import few_digits

OPTIONS = {"setting": "traditional", "lr": 0.05, "increment": [5, 5], "threads": 0, "method": "/a/b.py:Own"}
DATA = few_digits(n_train=40, n_test=20)


@pytest.mark.parametrize("change", [{"lr": 0.1}, {"setting": "continual"}, {"increment": [4, 6]}, {"new": 1}])
def test_options_that_decide_results(change, tmp_path):
    stamp = Fingerprint(OPTIONS).stamp("inside", 0, "")
    Fingerprint(OPTIONS).check(stamp, "inside", tmp_path, "config.yaml", "start anew")
    (name,) = change
    with pytest.raises(RedwoodError, match=rf"other options \({name}: .* in the checkpoint, .* in config.yaml\)"):
        Fingerprint(OPTIONS | change).check(stamp, "inside", tmp_path, "config.yaml", "start anew")


@pytest.mark.parametrize("change", [{"threads": 2}, {"increment": (5, 5)}, {"method": "/moved/b.py:Own"}])
def test_what_may_change(change):
    assert differences(OPTIONS, OPTIONS | change, "the checkpoint", "config.yaml") == ""


def test_what_may_change_are_options():
    assert MAY_CHANGE - {"data_dir", "env_processes", "library", "extends", "workers"} <= all_options(Run)


def test_many_differences_are_not_all_told():
    told = differences({}, dict.fromkeys("abcdef", "x" * 100), "a", "b")
    assert told.count(" in b") == 3 and told.endswith("and more") and "x" * 58 not in told


@pytest.mark.parametrize("name", ["x", "y", "x_test", "y_test"])
def test_data_that_has_changed(name):
    values = getattr(DATA, name).clone()
    values[0] = values[0] + 1 if name.startswith("x") else (values[0] + 1) % 10
    other = replace(DATA, **{name: values})
    assert describe_data(DATA) == describe_data(replace(DATA, name="moved"))
    assert describe_data(DATA) != describe_data(other)


def test_data_of_another_type_or_size():
    for other in (replace(DATA, x=DATA.x.float(), x_test=DATA.x_test.float()), few_digits(n_train=41, n_test=20)):
        assert describe_data(DATA) != describe_data(other)
    ids = torch.arange(40) % 2
    assert describe_data(replace(DATA, contexts=ids, contexts_test=ids[:20])) != describe_data(DATA)
