"""The example of a sweep by Weights & Biases: its command line parses, with any values that the sweep may choose."""

from itertools import product
from pathlib import Path

import pytest
import yaml

from redwood.experiments.command_line.arguments import parse_selection
from redwood.experiments.command_line.options import check_arguments, parse_options
from redwood.experiments.command_line.pairs import Pair
from redwood.methods.lookup import get_method
from tests.small_runs import run_here, small_setting

FILE = Path(__file__).parents[3] / "examples" / "wandb_sweep.yaml"
SWEEP = yaml.safe_load(FILE.read_text())
ENDS = [parameter.get("values") or [parameter["min"], parameter["max"]] for parameter in SWEEP["parameters"].values()]


@pytest.mark.parametrize("values", list(product(*ENDS)))
def test_its_command_line_parses(values):
    chosen = dict(zip(SWEEP["parameters"], values, strict=True))
    # What `wandb agent` makes of it: ${env}, python and ${program} start the process, ${args} are the parameters.
    assert SWEEP["command"][:3] == ["${env}", "python", "${program}"] and SWEEP["program"] == "cli.py"
    assert SWEEP["command"][-1] == "${args}"
    line = [*SWEEP["command"][3:-1], *(f"--{name}={value}" for name, value in chosen.items())]
    selected, rest = parse_selection(line)
    pair = Pair(selected.setting, selected.method)
    check_arguments([pair], rest)
    options = parse_options(pair, rest)
    assert not options.setting.eval_tasks.tests
    assert (options.setting.validation, options.run.wandb.mode) == (0.1, "online")
    assert (options.method.lr, options.setting.batch_size) == (chosen["lr"], chosen["batch_size"])


def test_its_metric_is_logged():
    setting = small_setting("class_incremental", eval_tasks="none", validation=0.1)
    assert SWEEP["metric"]["name"] in run_here(setting, get_method("finetune")()).metrics
