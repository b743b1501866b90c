from dataclasses import dataclass, field

import pytest

from redwood.core.errors import InvalidOptionError, UnknownNameError
from redwood.engine.run import Run
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.command_line.config_file import as_arguments
from redwood.experiments.command_line.options import check_arguments, make_parser, parse_options
from redwood.experiments.command_line.pairs import Pair
from redwood.methods.baselines import Finetune
from redwood.methods.regularisation.ewc import EWC
from redwood.settings import Auto, ClassIncrementalSetting

PAIR = Pair("class_incremental", "ewc")


@dataclass
class Many(Finetune):
    """One option of each type."""

    number: int | None = None  # any number
    share: float = 0.5  # 50% of them
    name: str = "x"  # what it is called
    fast: bool = False  # do less
    sizes: list[int] = field(default_factory=list)  # how large
    names: list[str] = field(default_factory=lambda: ["a", "b"])  # how called


MANY = Pair("class_incremental", f"{__name__}:Many")


@dataclass
class Commented(Finetune):
    """An option below a line that has a comment as well."""

    target = Finetune.target  # the most general setting

    softness: float = 0.1  # how soft it is


class Undecorated(Finetune):
    """What its author has forgotten is the decorator."""

    softness: float = 0.1


def test_the_comment_of_an_option_is_its_help():
    helped = " ".join(make_parser(Pair("class_incremental", f"{__name__}:Commented")).format_help().split())
    assert "--softness float how soft it is [0.1]" in helped
    assert "the most general setting" not in helped


def test_a_forgotten_decorator():
    with pytest.raises(UsageError, match="Undecorated has the option softness but is no dataclass; put @dataclass"):
        make_parser(Pair("class_incremental", f"{__name__}:Undecorated"))


class TestParse:
    def test_defaults_are_those_of_the_classes(self):
        options = parse_options(PAIR, [])
        assert (options.setting, options.method, options.run) == (ClassIncrementalSetting(), EWC(), Run())

    def test_each_option_goes_where_it_belongs(self):
        options = parse_options(
            PAIR, ["--seed", "3", "--increment", "4", "6", "--ewc_lambda", "2", "--threads", "1", "--quiet"]
        )
        assert options.setting == ClassIncrementalSetting(seed=3, stream=Auto(increment=[4, 6]))
        assert options.method == EWC(ewc_lambda=2.0)
        assert options.run == Run(threads=1, quiet=True)

    def test_types(self):
        line = "--number 3 --share 1e-3 --name=-x --fast --sizes 1 2 --names c"
        assert parse_options(MANY, line.split()).method == Many(
            number=3, share=0.001, name="-x", fast=True, sizes=[1, 2], names=["c"]
        )
        assert parse_options(MANY, ["--fast", "false"]).method == Many()

    def test_options_of_other_pairs_are_passed_over(self):
        assert parse_options(PAIR, ["--buffer_size", "3", "--lr", "0.5"]).method == EWC(lr=0.5)

    def test_what_the_classes_refuse(self):
        with pytest.raises(InvalidOptionError, match="--seed -1 has to be at least 0"):
            parse_options(PAIR, ["--seed", "-1"])

    @pytest.mark.parametrize("line", ["--number", "--run_dir", "--passes", "--workers --lr 1"])
    def test_an_option_needs_its_value_even_if_its_default_is_none(self, line):
        with pytest.raises(UsageError, match="expected one argument"):
            parse_options(MANY, line.split())

    def test_two_parsers_do_not_share_their_lists(self):
        parse_options(PAIR, ["--increment", "1"]).setting.stream.increment.append(2)
        assert parse_options(PAIR, []).setting.stream.increment == []


class TestCheckArguments:
    def test_an_option_of_one_pair_is_enough(self):
        check_arguments([PAIR, Pair("class_incremental", "rehearsal")], ["--ewc_lambda", "1", "--buffer_size", "3"])

    def test_but_of_one_it_has_to_be(self):
        with pytest.raises(UsageError, match="no option --buffer_size for --setting class_incremental --method ewc"):
            check_arguments([PAIR], ["--buffer_size", "3"])
        with pytest.raises(
            UsageError, match="no option --bufer_size for any of these pairs; did you mean --buffer_size"
        ):
            check_arguments([PAIR, Pair("continual", "rehearsal")], ["--bufer_size", "3"])


class TestLoad:
    def test_names(self):
        assert PAIR.load() == (ClassIncrementalSetting, EWC)
        assert MANY.load() == (ClassIncrementalSetting, Many)
        with pytest.raises(UnknownNameError, match="Did you mean ewc"):
            Pair("class_incremental", "ewcc").load()

    def test_a_mistake_of_ours_is_not_taken_for_one_of_the_user(self, monkeypatch):
        def broken(name):
            raise ImportError("a bug")

        monkeypatch.setattr("redwood.experiments.command_line.pairs.get_method", broken)
        with pytest.raises(ImportError, match="a bug"):
            PAIR.load()


def test_angles_are_numbers_of_any_sign():
    options = parse_options(
        Pair("domain_incremental", "random"), ["--stream", "rotated", "--angles", "-20", "0", "40.5"]
    )
    assert options.setting.stream.angles == [-20.0, 0.0, 40.5]
    assert options.setting.open_stream().num_tasks == 3
    assert parse_options(
        Pair("domain_incremental", "random"), as_arguments({"stream": "rotated", "angles": [-20.0, 0.0]})
    ).setting.stream.angles
