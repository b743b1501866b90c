import argparse

import pytest

from redwood.experiments.command_line.arguments import UsageError, nearest_option, parse_selection, refuse_unknown
from redwood.experiments.command_line.config_file import as_arguments


class TestSelection:
    def test_it_leaves_the_options_of_the_run(self):
        chosen, rest = parse_selection(
            ["--lr", "0.1", "--setting", "a", "--method=b", "--increment", "3", "4", "--help"]
        )
        assert (chosen.setting, chosen.method, chosen.help, chosen.seeds) == ("a", "b", True, 1)
        assert rest == ["--lr", "0.1", "--increment", "3", "4"]

    def test_the_last_one_counts(self):
        assert parse_selection(["--setting", "a", "--setting", "b"])[0].setting == "b"

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["--seeds", "0"], "--seeds: 0 has to be at least 1"),
            *(([f"--{name}", "1000000000"], f"--{name}: 1000000000 has to be") for name in ("seeds", "jobs")),
            (["--class_orders", "1000000000"], "--class_orders: 1000000000 has to be at least 1 and at most 100000"),
            (["--seeds", "few"], "Argument --seeds: 'few' is no number; --seeds takes the number of seeds"),
            (["--config"], "Argument --config: expected one argument"),
            (["--trust=3"], "Argument --trust: ignored explicit argument '3'"),
        ],
    )
    def test_errors(self, arguments, sentence):
        with pytest.raises(UsageError, match=sentence):
            parse_selection(arguments)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("--buffer", "--buffer_size"), ("--class", "--class_order"), ("--pases", "--passes"), ("--epsilon", None)],
)
def test_the_option_that_a_user_may_have_meant(written, meant):
    known = ["--buffer_dir", "--buffer_policy", "--buffer_size", "--class_order_seed", "--class_order", "--passes"]
    assert nearest_option(written, known) == meant


def test_values_of_a_file_as_arguments():
    config = {"lr": -1e-05, "name": "--odd", "quiet": True, "increment": [3, 4], "none": None, "empty": [], "text": ""}
    assert as_arguments(config) == [
        "--lr=-1e-05",
        "--name=--odd",
        "--quiet=True",
        "--increment",
        "3",
        "4",
        "--text=",
    ]


PARSER = argparse.ArgumentParser(add_help=False)
PARSER.add_argument("--lr", type=float)
PARSER.add_argument("--batch_size", type=int)
PARSER.add_argument("--increment", type=int, nargs="*")
PARSER.add_argument("--quiet", type=bool, nargs="?")
PARSER.add_argument("--fast", action="store_true")
ACTIONS = {option: action for action in PARSER._actions for option in action.option_strings}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--lr 0.1",
        "--lr -1",
        "--lr -1e-05",
        "--lr=0.1 --batch_size 3",
        "--increment",
        "--increment 1 2 3 --lr 1",
        "--quiet --lr 1",
        "--quiet false",
        "--fast --lr 1",
    ],
)
def test_known(line):
    refuse_unknown(line.split(), ACTIONS, "this pair")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--batchsize 3", "There is no option --batchsize for this pair; did you mean --batch_size?"),
        ("--lr 1 --batch-size=3", "There is no option --batch-size for this pair; did you mean --batch_size?"),
        ("--elephant", "There is no option --elephant for this pair; see --help."),
        ("-x", "There is no option -x for this pair; see --help."),
        ("--lr 1 --resume runs/a", "--resume is a command now: python cli.py resume DIR"),
        ("--lr 1 resume runs/a", "The argument 'resume' belongs to no option; a command comes first."),
        ("stray", "The argument 'stray' belongs to no option; see --help."),
        ("--lr 1 stray", "The argument 'stray' belongs to no option"),
        ("--lr=1 stray", "The argument 'stray' belongs to no option"),
        ("--fast stray", "The argument 'stray' belongs to no option"),
        ("--quiet no stray", "The argument 'stray' belongs to no option"),
        ("--lr 1 -- x", "There is no option -- for this pair"),
    ],
)
def test_unknown(line, sentence):
    with pytest.raises(UsageError) as caught:
        refuse_unknown(line.split(), ACTIONS, "this pair")
    assert str(caught.value).startswith(sentence)
