import pytest

from redwood.engine.figures.drawing import COLOURS, height_of, looks_of, width_of
from redwood.engine.names import title_name, wrapped


def test_looks_follow_from_the_names_alone():
    names = [f"method {n}" for n in range(40)]
    looks = looks_of(names)
    assert looks == looks_of(reversed(names)) == looks_of(names * 2)
    assert len({(look.colour, look.line, look.marker) for look in looks.values()}) == 40
    assert len({(look.colour, look.hatch) for look in looks.values()}) == 40


def test_few_names_have_colours_of_their_own_and_no_hatches():
    looks = looks_of(map(str, range(len(COLOURS))))
    assert {look.colour for look in looks.values()} == set(COLOURS)
    assert {look.hatch for look in looks.values()} == {""}


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("finetune", ["finetune"]),
        ("distributed_online_class_incremental", ["distributed_online_", "class_incremental"]),
        ("ewc+rehearsal+DifferenceTargetPropagation", ["ewc+rehearsal+", "DifferenceTarget", "Propagation"]),
        ("a name of several words here", ["a name of several", "words here"]),
        ("one_indivisiblewordthatistoolong", ["one_", "indivisiblewordthatistoolong"]),
        ("ResNet18_on_CIFAR100", ["ResNet18_on_CIFAR100"]),
        ("__dunder__", ["__dunder__"]),
        ("", [""]),
    ],
)
def test_names_are_never_broken_inside_a_word(name, lines):
    assert wrapped(name).split("\n") == lines
    assert height_of([wrapped(name)]) == len(lines)
    assert width_of([wrapped(name)]) == max(map(len, lines))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ewc", "ewc"),
        ("/home/me/methods.py:Mine", "Mine"),
        ("package.module:Mine", "Mine"),
        ("methods.py:Mine+rehearsal", "Mine+rehearsal"),
        ("room.py:hot,/home/me/room.py:cold", "hot,cold"),
        ("ALE/Pong-v5,ALE/Breakout-v5", "Pong-v5,Breakout-v5"),
        ("/data/series.npz", "series.npz"),
        ("C:\\data\\series.npz", "series.npz"),
        ("continuum:CORe50", "continuum:CORe50"),
        ("drift_regression:gradual", "drift_regression:gradual"),
        ("", ""),
    ],
)
def test_titles_have_no_paths(name, shown):
    assert title_name(name) == shown
