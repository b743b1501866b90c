import pytest

from redwood.experiments.arguments import UsageError, as_arguments, parse_selection


class TestSelection:
    def test_it_leaves_the_options_of_the_run(self):
        chosen, rest = parse_selection(
            ["--lr", "0.1", "--setting", "a", "--method=b", "--increment", "3", "4", "--list"]
        )
        assert (chosen.setting, chosen.method, chosen.list, chosen.seeds) == ("a", "b", True, 1)
        assert rest == ["--lr", "0.1", "--increment", "3", "4"]

    def test_the_last_one_counts(self):
        assert parse_selection(["--setting", "a", "--setting", "b"])[0].setting == "b"

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["--seeds", "0"], "--seeds 0 has to be at least 1"),
            (["--seeds", "few"], "Argument --seeds: invalid int value: 'few'; see --help"),
            (["--resume"], "Argument --resume: expected one argument"),
            (["--list=3"], "Argument --list: ignored explicit argument '3'"),
        ],
    )
    def test_errors(self, arguments, sentence):
        with pytest.raises(UsageError, match=sentence):
            parse_selection(arguments)


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
