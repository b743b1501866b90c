import argparse

import pytest

from redwood.experiments.arguments import UsageError, refuse_unknown

PARSER = argparse.ArgumentParser(add_help=False)
PARSER.add_argument("--lr", type=float)
PARSER.add_argument("--batch_size", type=int)
PARSER.add_argument("--increment", type=int, nargs="*")
PARSER.add_argument("--quiet", type=bool, nargs="?")
PARSER.add_argument("--list", action="store_true")
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
        "--list --lr 1",
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
        ("stray", "The argument 'stray' belongs to no option; see --help."),
        ("--lr 1 stray", "The argument 'stray' belongs to no option"),
        ("--lr=1 stray", "The argument 'stray' belongs to no option"),
        ("--list stray", "The argument 'stray' belongs to no option"),
        ("--quiet no stray", "The argument 'stray' belongs to no option"),
        ("--lr 1 -- x", "There is no option -- for this pair"),
    ],
)
def test_unknown(line, sentence):
    with pytest.raises(UsageError) as caught:
        refuse_unknown(line.split(), ACTIONS, "this pair")
    assert str(caught.value).startswith(sentence)
