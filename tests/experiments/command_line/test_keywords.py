from pathlib import Path

import numpy as np
import pytest
from torch import nn

from redwood.core.errors import RedwoodError
from redwood.experiments.command_line.keywords import read_keywords
from redwood.experiments.command_line.options import check_arguments, parse_options
from redwood.experiments.command_line.pairs import Pair
from redwood.methods import EWC, Rehearsal, compose
from redwood.settings import ClassIncrementalSetting, ClassSplit, DomainIncrementalSetting, Rotated

AT_TOP = f"{__name__}:Known"


class Known(Rehearsal):
    """A class that other processes find."""


def local(base):
    class Local(base):
        """A class of a function."""

    return Local


def options_of(setting, method, **options):
    """The objects that keywords make, by the parser of the command line."""
    arguments, objects = read_keywords(None, None, options)
    pair = Pair(setting, method, objects=objects)
    check_arguments([pair], arguments)
    return parse_options(pair, arguments)


class TestNames:
    @pytest.mark.parametrize(
        ("given", "text"),
        [
            ("ewc", "ewc"),
            ("ewc,rehearsal", "ewc,rehearsal"),
            (["ewc", Rehearsal], "ewc,rehearsal"),
            (EWC, "ewc"),
            (Known, AT_TOP),
            (compose(EWC, Rehearsal), "ewc+rehearsal"),
        ],
    )
    def test_a_class_has_the_name_that_leads_to_it(self, given, text):
        assert read_keywords(ClassIncrementalSetting, given, {}) == (
            ["--setting=class_incremental", f"--method={text}"],
            {},
        )

    def test_a_class_that_is_found_nowhere_is_kept(self):
        own = local(Rehearsal)
        arguments, objects = read_keywords("continual", [own, "ewc"], {})
        (name,) = objects
        assert (
            arguments[1] == f"--method={name},ewc" and objects[name] is own and name.endswith(":local.<locals>.Local")
        )
        assert Pair("continual", name, objects=objects).load()[1] is own

    def test_an_object_gives_its_class_and_the_options_that_are_no_defaults(self):
        setting = ClassIncrementalSetting(nb_tasks=2, stream=ClassSplit(class_order_seed=3))
        arguments, objects = read_keywords(setting, Rehearsal(buffer_size=33), {"lr": 0.1})
        (text,) = objects
        assert objects[text] is setting.stream
        named = ["--setting=class_incremental", "--method=rehearsal"]
        assert arguments == [*named, "--buffer_size=33", f"--stream={text}", "--nb_tasks=2", "--lr=0.1"]
        with pytest.raises(RedwoodError, match=r"buffer_size is given twice, by Rehearsal\(...\) and as a keyword"):
            read_keywords("continual", Rehearsal(buffer_size=33), {"buffer_size": 3})

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            (
                [Rehearsal(), "ewc"],
                "Each method of several is a name or a class; give Rehearsal, and its options as keywords.",
            ),
            (int, "int is no method: it has to be a subclass of redwood.Method."),
            (["ewc", ClassIncrementalSetting], "ClassIncrementalSetting is no method: it has to be a subclass"),
        ],
    )
    def test_what_is_none_is_refused(self, given, sentence):
        with pytest.raises(RedwoodError, match=sentence):
            read_keywords("continual", given, {})


class TestValues:
    @pytest.mark.parametrize(
        ("options", "arguments"),
        [
            ({"lr": 0.1, "passes": 3, "dataset": "digits"}, ["--lr=0.1", "--passes=3", "--dataset=digits"]),
            ({"lr": np.float64(0.1), "data_dir": Path("a")}, ["--lr=0.1", "--data_dir=a"]),
            ({"angles": (0, 30)}, ["--angles", "0", "30"]),
            ({"angles": np.array([0.0, 30.5])}, ["--angles", "0.0", "30.5"]),
            ({"stream": {"rotated": {"angles": [0, 30]}}}, ["--stream=rotated", "--angles", "0", "30"]),
            ({"async_": True, "quiet": False}, ["--async=True", "--quiet=False"]),
            ({"lr": None, "trust": True}, ["--trust"]),
            ({"trust": False}, []),
        ],
    )
    def test_plain_values_are_texts(self, options, arguments):
        assert read_keywords(None, None, options) == (arguments, {})

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"help": True}, "help is for the command line; call help"),
            ({"version": True}, "version is for the command line; read redwood.__version__."),
            ({"angles": ["--trust"]}, "holds another option"),
            ({"stream": {"rotated": {"angles": [0]}}, "angles": [1]}, "--angles is set twice"),
        ],
    )
    def test_what_is_no_option(self, options, sentence):
        with pytest.raises(RedwoodError, match=sentence):
            read_keywords(None, None, options)


class TestObjects:
    def test_they_come_out_as_they_went_in(self):
        data, network = (np.zeros((8, 3), np.float32), np.arange(8) % 4), nn.Linear(3, 4)
        made = options_of("class_incremental", "rehearsal", dataset=data, model=network, nb_tasks=2)
        assert made.setting.dataset.source.parts[0] is data[0] and made.method.model.module is network
        assert made.setting.nb_tasks == 2

    def test_a_list_that_sets_no_option_is_told_by_its_length(self):
        with pytest.raises(RedwoodError, match="The option lr, a list of 900, holds another option"):
            options_of("class_incremental", "rehearsal", lr=["--seed"] * 900)

    def test_nested_lists_are_objects(self):
        x, y = [[0.0, 1.0], [2.0, 3.0]] * 4, ["a", "b"] * 4
        made = options_of("class_incremental", "random", dataset=(x, y), nb_tasks=2)
        assert made.setting.dataset.source.parts == (x, y)

    def test_two_of_one_name_are_told_apart(self):
        first, second = local(object), local(object)
        _, objects = read_keywords(None, None, {"model": first, "backbone": second, "expert_models": [first, second]})
        assert len(objects) == 3 and {id(one) for one in objects.values()} >= {id(first), id(second)}

    def test_a_part_keeps_its_options_and_takes_others(self):
        part = Rotated(angles=[0.0, 90.0])
        made = options_of("domain_incremental", "random", stream=part)
        assert made.setting.stream == part
        assert options_of("domain_incremental", "random", stream=part, angles=[1, 2]).setting.stream.angles == [
            1.0,
            2.0,
        ]
        assert made.setting == DomainIncrementalSetting(stream=part)

    def test_an_object_in_the_place_of_a_number(self):
        with pytest.raises(RedwoodError, match="invalid float value: '<object, given from Python>'"):
            options_of("class_incremental", "rehearsal", lr=object())
