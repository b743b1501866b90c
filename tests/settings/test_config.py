from pathlib import Path

import numpy as np
import pandas
import pytest
import yaml
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.core.parts import flat
from redwood.engine.logger_parts import Offline
from redwood.engine.run import Run
from redwood.experiments.command_line.config_file import as_arguments
from redwood.experiments.command_line.options import parse_options
from redwood.experiments.command_line.pairs import Pair
from redwood.methods.baselines import Finetune, Random
from redwood.methods.regularisation.ewc import EWC
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.optimizers import Sgd
from redwood.settings import (
    ClassIncrementalSetting,
    ClassSplit,
    ContinualSetting,
    Gradual,
    OnlineClassIncrementalSetting,
)
from redwood.settings.config import describe_options, describe_run, mark_of, refuse_marked
from redwood.settings.rl.tree import ContinualRLSetting
from redwood.settings.table import name_of_setting
from tests.samples import few_digits


class Mine(ContinualSetting):
    """A setting of one's own."""


@pytest.mark.parametrize(
    ("setting", "method", "run"),
    [
        (
            ClassIncrementalSetting(stream=ClassSplit(increment=[4, 3, 3], class_order=list(range(9, -1, -1)))),
            EWC(lr=1e-5),
            Run(),
        ),
        (OnlineClassIncrementalSetting(nb_tasks=2, validation=0.25, seed=7), Rehearsal(buffer_size=3), Run(threads=2)),
        (
            ContinualSetting(stream="permuted", transition=Gradual(drift_width=0.0)),
            Random(),
            Run(checkpoint_every=0, wandb=Offline("a b: c")),
        ),
        (Mine(dataset="data/with space.npz"), Finetune(), Run(wandb="offline", precision="bf16-mixed")),
    ],
)
def test_the_command_line_makes_the_same_options_of_it(setting, method, run):
    """Through YAML, as `--config` and `resume` read it."""
    config = yaml.safe_load(yaml.safe_dump(describe_run(setting, method, run)))
    pair = Pair(config.pop("setting"), config.pop("method"))
    options = parse_options(pair, as_arguments(flat(config)))
    assert (options.setting, options.method, options.run) == (setting, method, run)


def test_where_a_run_writes_is_no_part_of_it():
    names = describe_run(ContinualSetting(), Random(), Run(run_dir="somewhere", quiet=True)).keys()
    assert not {"run_dir", "group", "resume", "quiet", "earlier"} & names
    assert {"seed", "dataset", "wandb", "precision"} <= names


def test_what_only_python_can_give_is_named():
    setting = ClassIncrementalSetting(dataset=few_digits())
    config = describe_run(setting, Finetune(model=nn.Sequential(nn.Flatten(), nn.Linear(64, 10))), Run())
    assert config["dataset"] == "<few_digits, given from Python>"
    assert flat(config)["model"] == "<Sequential, given from Python>"
    with pytest.raises(InvalidOptionError, match=r"c.yaml cannot hold the dataset of its run, few_digits, which was"):
        refuse_marked(config, Path("c.yaml"))
    refuse_marked(config | {"dataset": "digits", "model": "file.py:make"}, Path("c.yaml"))


def test_lists_of_what_only_python_can_give():
    def make():
        """An environment."""

    config = describe_options(ContinualRLSetting(env=["CartPole-v1", make]))
    assert config["env"] == f"<CartPole-v1, {make.__qualname__}, given from Python>"


def test_a_long_list_of_such_is_shortened():
    config = describe_options(ContinualRLSetting(env=["CartPole-v1", object(), *["CartPole-v1"] * 1000]))
    assert config["env"] == "<CartPole-v1, object, CartPole-v1, CartPole-v1, ..., given from Python>"


def test_a_column_called_name_names_no_table():
    assert mark_of(pandas.DataFrame({"name": [1, 2]})) == "<DataFrame, given from Python>"


def test_numbers_of_numpy_are_written_as_numbers():
    """YAML has no names for them."""
    method = Finetune(lr=np.float64(0.01), optimizer=Sgd(momentum=np.float32(0.5)))
    setting = ClassIncrementalSetting(seed=np.int64(3), stream=ClassSplit(increment=[np.int64(5), 5]))
    config = flat(yaml.safe_load(yaml.safe_dump(describe_run(setting, method, Run()))))
    assert (config["lr"], config["momentum"], config["seed"], config["increment"]) == (0.01, 0.5, 3, [5, 5])


def test_settings_by_key_or_reference():
    assert name_of_setting(ContinualSetting) == "continual"
    assert name_of_setting(Mine) == "tests.settings.test_config:Mine"
