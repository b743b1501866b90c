"""What `sweep` says: ranges, lists and files."""

import pytest

from redwood.core.errors import RedwoodError
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.sweeps.space import Choices, Range, as_arguments, parse_parameter, read_space, size_of


@pytest.mark.parametrize(
    ("text", "kind", "parameter"),
    [
        ("log:1e-3..1", float, Range(0.001, 1.0, log=True)),
        ("0.1..0.9", float, Range(0.1, 0.9)),
        ("-1..+.5", float, Range(-1.0, 0.5)),
        ("1..8", float, Range(1.0, 8.0)),
        ("1..8", int, Range(1, 8, whole=True)),
        ("log:16..1e3", int, Range(16, 1000, log=True, whole=True)),
        ("a,b", str, Choices(("a", "b"))),
        ("0.1, 0.2", float, Choices(("0.1", "0.2"))),
        ("../a.pt,../b.pt", str, Choices(("../a.pt", "../b.pt"))),
        (["a,b", "c"], None, Choices(("a,b", "c"))),
    ],
)
def test_values(text, kind, parameter):
    assert parse_parameter("option", text, kind) == parameter


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        ("1..1", float, "is empty; write the lower end first"),
        ("2..1", int, "is empty"),
        ("log:0..1", float, "has no logarithm at 0; begin above 0"),
        ("log:-2..1", float, "has no logarithm at -2"),
        ("a..b", float, r"is no range of numbers; write LOW\.\.HIGH"),
        ("log:3", float, "is no range of numbers"),
        ("1..2..3", float, "is no range of numbers"),
        ("nan..2", float, "is no range of numbers"),
        ("1..1e999", float, "has an end that is not finite"),
        ("1..2.5", int, "has an end with a fraction, but option is an integer"),
        ("1..2", str, "is a range, but option is no number; list its values"),
        ("log:a", str, "is a range, but option is no number"),
        ("0.1", float, "is one value, so that there is nothing to choose; give --option 0.1"),
        ("a,,b", str, "has an empty value"),
        ("", str, "has an empty value"),
        ("a,b,a", str, "names a twice"),
    ],
)
def test_bad_values(text, kind, sentence):
    with pytest.raises(UsageError, match=sentence):
        parse_parameter("option", text, kind)


def test_size():
    assert size_of({"a": Range(1, 4, whole=True), "b": Choices(("x", "y"))}) == 8
    assert size_of({"a": Range(0.0, 1.0), "b": Choices(("x", "y"))}) == float("inf")


def test_arguments_have_all_digits():
    assert as_arguments({"lr": 0.1 + 0.2, "size": 4, "kind": "a"}) == [
        "--lr=0.30000000000000004",
        "--size=4",
        "--kind=a",
    ]


def test_a_file_and_the_command_line_join(tmp_path):
    (tmp_path / "space.yaml").write_text("lr: log:1e-3..1\nsize: [16, 32]\nasync: [true, false]\n")
    read = read_space([str(tmp_path / "space.yaml"), "kind=a,b"], trusted=False)
    assert read == {"lr": "log:1e-3..1", "size": ["16", "32"], "async": ["True", "False"], "kind": "a,b"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lr: [", "is not valid YAML; write lines like"),
        ("- lr", "has to be a mapping"),
        ("", "has to be a mapping"),
        ("lr: {log: 1}", "lr has to be a range"),
        ("lr:", "lr has to be a range"),
        ("lr: [[1, 2], 3]", "lr has to be a range"),
        (
            "model: ['net.py:Net', mlp]",
            "code that would be run, model: net.py:Net; look at it, then add trust=True",
        ),
    ],
)
def test_bad_files(tmp_path, text, sentence):
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(RedwoodError, match=sentence):
        read_space([str(tmp_path / "space.yaml")], trusted=False)


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([], "names no option"),
        (["lr"], "sweep lr is neither an option with its values nor a file"),
        (["lr=1..2", "--lr=1..3"], "sweep names lr twice"),
    ],
)
def test_bad_entries(entries, sentence):
    with pytest.raises(UsageError, match=sentence):
        read_space(entries, trusted=False)
