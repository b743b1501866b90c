"""Which options can be swept, and which values."""

import pytest

from redwood.core.errors import RedwoodError
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.sweeps.checks import count_trials, defaults_of, make_space
from redwood.experiments.sweeps.space import Choices, Range

PAIR = Pair("class_incremental", "rehearsal")


def test_the_type_of_the_option_decides():
    written = {"lr": "1..2", "buffer_size": "1..2", "batch_size": "8,16", "async": "true,false"}
    assert make_space(PAIR, [], written) == {
        "lr": Range(1.0, 2.0),
        "buffer_size": Range(1, 2, whole=True),
        "batch_size": Choices(("8", "16")),
        "async": Choices(("true", "false")),
    }


def test_a_value_may_need_another_swept_option():
    written = {"lr_schedule": "constant,milestones", "milestones": "0.5,0.7"}
    assert set(make_space(PAIR, [], written)) == set(written)


@pytest.mark.parametrize(
    ("name", "values", "arguments", "sentence"),
    [
        ("lrr", "1..2", [], "There is no option --lrr .* did you mean --lr?"),
        ("seed", "1,2", [], "sweep seed would choose the luckiest seed"),
        ("dataset", "a,b", [], "sweep dataset would change what class_incremental asks for"),
        ("nb_tasks", "2..5", [], "sweep nb_tasks would change"),
        ("quiet", "true,false", [], "has no effect on what is learned, as --quiet says how a run is carried out"),
        ("method", "a,b", [], "as --method says what is run"),
        ("lr", "-1..1", [], "sweep lr has a value that cannot be used: --lr -1.0 has to be greater than 0"),
        ("buffer_policy", "reservoir,foo", [], "a value that cannot be used: --buffer_policy foo is unknown; choose"),
        ("milestones", "0.5,0.7", [], "--milestones belongs to --lr_schedule milestones; add that"),
        ("lr", "1..2", ["--lr", "0.1"], "--lr is given, and swept by sweep lr; leave one of them out"),
        ("async", "true,false", ["--asynchronous"], "--asynchronous is given, and swept by sweep async"),
    ],
)
def test_errors(name, values, arguments, sentence):
    with pytest.raises(RedwoodError, match=sentence):
        make_space(PAIR, arguments, {name: values})


@pytest.mark.parametrize(
    ("written", "defaults"),
    [
        ({"lr": "log:1e-3..1", "buffer_size": "100..900"}, {"lr": 0.05, "buffer_size": 200}),
        ({"lr": "0.01,0.050", "buffer_policy": "ring,reservoir"}, {"lr": "0.050", "buffer_policy": "reservoir"}),
        ({"optimizer": "adam,sgd", "eps": "0.5..0.9"}, {"optimizer": "sgd", "eps": 0.5}),
        ({"lr": "0.01,0.1"}, None),
        ({"lr": "1..2"}, None),
    ],
)
def test_the_defaults_in_a_space(written, defaults):
    assert defaults_of(PAIR, [], make_space(PAIR, [], written)) == defaults


def test_number_of_trials():
    finite = {"kind": Choices(("a", "b", "c"))}
    assert count_trials(finite, None) == 3
    assert count_trials({"lr": Range(1.0, 2.0)}, None) == 20
    assert count_trials({"lr": Range(1.0, 2.0)}, 50) == 50
    with pytest.raises(RedwoodError, match="--trials 4 is more than the 3 configurations of sweep; use at most 3"):
        count_trials(finite, 4)
