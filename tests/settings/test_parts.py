"""The parts of supervised settings: what chooses them from Python and on the command line, and who has which option."""

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
from torch.utils.data import TensorDataset

from redwood.cli import main
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import all_options, kinds_of
from redwood.experiments.command_line.options import parse_options
from redwood.experiments.command_line.pairs import Pair
from redwood.settings import (
    SETTINGS,
    Arrays,
    Auto,
    Blurry,
    ClassIncrementalSetting,
    ClassSplit,
    ContinualSetting,
    Gradual,
    HuggingFace,
    Images,
    Rotated,
    SeenTasks,
    SupervisedSetting,
    Table,
    TaskList,
    get_setting,
)
from redwood.settings.config import describe_options
from redwood.settings.data.parts import DataSource
from tests.cli.command import assert_one_sentence
from tests.samples import few_digits

SUPERVISED = [key for key in SETTINGS if get_setting(key).assumptions.labels]
# On the command line, and what it makes.
LINES = {
    "--stream rotated --angles 0 30": {"stream": Rotated(angles=[0.0, 30.0])},
    "--increment 2": {"stream": Auto(increment=[2])},
    "--stream class_split --class_order_seed 3": {"stream": ClassSplit(class_order_seed=3)},
    "--stream tasks --stream_file a.yaml --first_task 1": {"stream": TaskList(first_task=1, stream_file="a.yaml")},
    "--transition blurry --blur 0.3": {"transition": Blurry(blur=0.3)},
    "--eval_tasks seen --lca 5": {"eval_tasks": SeenTasks(lca=5)},
    "--dataset a.csv --target_column y": {"dataset": Table("a.csv", target_column="y")},
    "--dataset a.parquet": {"dataset": Table("a.parquet")},
    "--dataset a.npz --slices s": {"dataset": Arrays("a.npz", slices="s")},
    "--dataset hf:pets --image_size 8 --task_column t": {
        "dataset": HuggingFace("hf:pets", image_size=8, task_column="t")
    },
    "--dataset photos --image_size 8": {"dataset": Images("photos", image_size=8)},
    "--dataset tiny_imagenet": {"dataset": Images("tiny_imagenet")},
    "--stream tasks --dataset digits,photos --image_size 8": {
        "dataset": Images("digits,photos", image_size=8),
        "stream": TaskList(),
    },
    "--dataset mnist": {"dataset": DataSource("mnist")},
}


@pytest.mark.parametrize("line", LINES)
def test_the_command_line_makes_what_python_says(line):
    setting = parse_options(Pair("class_incremental", "finetune"), line.split()).setting
    assert setting == ClassIncrementalSetting(**LINES[line])
    assert ClassIncrementalSetting(**describe_options(setting)) == setting


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--angles 0", "--angles belongs to --stream rotated; add that, or leave --angles out"),
        ("--target_column y", "--target_column belongs to --dataset FILE.csv or --dataset hf:NAME; add"),
        ("--dataset digits --image_size 8", "--image_size belongs to --dataset FOLDER or"),
        ("--first_task 1", "--first_task belongs to --stream tasks; add that"),
        ("--stream permuted --increment 2", "--increment belongs to --stream auto or --stream class_split; add"),
        ("--eval_tasks none --lca 3", "--lca belongs to --eval_tasks all or --eval_tasks seen; add"),
        ("--drift_width 2", "There is no option --drift_width for --setting class_incremental"),
        ("--label_delay 2", "There is no option --label_delay for --setting class_incremental"),
        ("--stream rotate", "--stream rotate is unknown; did you mean rotated? choose one of auto"),
    ],
)
def test_a_part_that_is_not_chosen_does_not_know_the_option(line, sentence, capsys):
    assert main(["--setting", "class_incremental", "--method", "finetune", *line.split()]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert_one_sentence(said)


def test_supervised_settings_have_eleven_fields_of_their_own():
    assert [f.name for f in fields(SupervisedSetting)] == [
        *("seed", "workers", "eval_tasks", "dataset", "data_dir", "stream", "nb_tasks", "transition"),
        *("batch_size", "passes", "validation"),
    ]


@pytest.mark.parametrize("key", SUPERVISED)
def test_a_node_offers_what_it_can_use(key):
    cls = get_setting(key)
    offered = {name: kind.offered_under(cls) for name, kind in kinds_of(cls).items()}
    pools = cls.assumptions.past_accessible or issubclass(cls, get_setting("traditional")) or key == "osaka"
    expected = ["blurry", "gradual"] if key == "continual" else [] if pools else ["blurry"]
    assert offered["transition"] == ["abrupt", *expected]
    own = {"osaka": ["drawn"], "acquisition": ["slices"]}
    assert ("s_minus" in offered["stream"]) == (cls.assumptions.task_ids == 2)
    assert offered["stream"] == own.get(key, offered["stream"])
    assert ("lca" in all_options(cls, cls)) == (key not in ("osaka", "acquisition", "federated_class_incremental"))


def test_data_from_python_is_of_the_kind_of_its_object():
    table, x = pd.DataFrame({"a": range(9), "y": [0, 1, 2] * 3}), np.zeros((4, 2), np.float32)
    kinds = ((table, Table), (TensorDataset(), Images), (few_digits(), DataSource), ((x, x[:, 0]), DataSource))
    for given, kind in kinds:
        made = ClassIncrementalSetting(dataset=given)
        assert type(made.dataset) is kind
        assert "given from Python" in made.dataset.text
        assert replace(made, seed=1).dataset is made.dataset
    with pytest.raises(InvalidOptionError, match="Images reads no data of this kind, few_digits; pass it as dataset"):
        Images(few_digits(), image_size=3)


def test_the_default_of_a_transition_follows_from_the_node():
    assert ContinualSetting().transition == Gradual()
    assert ContinualSetting(transition={"gradual": {"drift_width": 0.5}}).transition == Gradual(drift_width=0.5)
