"""Several methods as one: `ewc+rehearsal`."""

import copy
import dataclasses
import itertools
import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from redwood.cli import main
from redwood.core.errors import InvalidOptionError, UnknownNameError
from redwood.core.parts import Choice
from redwood.engine.run import Run
from redwood.methods import METHODS, Composition, compose, get_method
from redwood.methods.agents.agent import Agent
from redwood.methods.agents.weight_penalty import AgentL2
from redwood.methods.base import Method
from redwood.methods.lightning import LightningMethod
from redwood.methods.regularisation.ewc import EWC
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.optimizers import OPTIMIZERS, Sgd
from redwood.settings import get_setting
from redwood.settings.tree import ClassIncrementalSetting
from tests.methods.helpers import one_sentence, refused
from tests.small_runs import comparable, run_here, small_setting

BOTH = "ewc+rehearsal"


@dataclass
class Written(EWC, Rehearsal):
    """What `ewc+rehearsal` stands for, by hand."""


@dataclass
class OtherDefaults(LightningMethod):
    composition = Composition.ANYWHERE
    optimizer: Choice = OPTIMIZERS.chosen(Sgd(momentum=0.9))  # algorithm that updates the weights


class TestClass:
    def test_it_is_both(self):
        cls = get_method(BOTH)
        assert issubclass(cls, EWC)
        assert issubclass(cls, Rehearsal)
        assert cls.target is ClassIncrementalSetting
        assert cls.reference() == BOTH
        assert cls is get_method(BOTH) is compose(EWC, Rehearsal)
        assert cls(ewc_lambda=3.0, buffer_size=7) == cls(buffer_size=7, ewc_lambda=3.0)

    def test_what_comes_last_comes_last_in_whatever_order_it_is_named(self):
        first, second = get_method("er_ace+ewc"), get_method("ewc+er_ace")
        assert first is second
        assert first.reference() == "er_ace+ewc"
        assert first.composition is Composition.LAST
        assert [cls.reference() for cls in first.__bases__] == ["ewc", "er_ace"]

    def test_what_comes_first_comes_first(self):
        cls = get_method("er_ace+ewc+dtp")
        assert cls is get_method("dtp+ewc+er_ace")
        assert cls.reference() == "dtp+er_ace+ewc"
        assert get_method("ewc+dtp").composition is Composition.FIRST

    def test_a_default_of_any_of_them_counts(self):
        assert compose(EWC, OtherDefaults)().optimizer.momentum == 0.9
        assert compose(OtherDefaults, EWC)().optimizer.momentum == 0.9

    def test_a_subclass_with_a_loss_of_its_own_stands_last(self):
        @dataclasses.dataclass
        class Flat(get_method("finetune")):
            def loss(self, step):
                return self.losses(step).sum()

        assert Flat.composition is Composition.LAST
        for cls in (compose(Flat, EWC), compose(EWC, Flat)):
            assert cls.__mro__.index(EWC) < cls.__mro__.index(Flat)

    def test_what_may_stand_anywhere(self):
        anywhere = {key for key in METHODS if get_method(key).composition is Composition.ANYWHERE}
        assert anywhere == {
            *(
                "finetune",
                "stable_sgd",
                "background",
                "rehearsal",
                "async_rehearsal",
                "mir",
                "generative_rehearsal",
                "reuse_outputs",
                "semi_supervised",
            ),
            *("lwf", "two_side", "bic", "wa", "ewc", "si", "mas", "rwalk"),
        }

    def test_three(self):
        cls = compose(EWC, OtherDefaults, get_method("er_ace"))
        assert {"ewc_lambda", "optimizer", "buffer_size"} <= {f.name for f in dataclasses.fields(cls)}

    def test_a_method_of_ones_own(self, tmp_path):
        file = tmp_path / "own.py"
        file.write_text(
            "from dataclasses import dataclass\nfrom redwood.methods import Composition, LightningMethod\n\n"
            "@dataclass\nclass Own(LightningMethod):\n    composition = Composition.ANYWHERE\n    weight: float = 1.0\n"
        )
        cls = get_method(f"{file}:Own+rehearsal")
        assert cls.reference() == f"{file}:Own+rehearsal"
        assert cls().weight == 1.0

    @pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
    def test_copies(self, copied):
        method = get_method(BOTH)(ewc_lambda=3.0)
        assert copied(method) == method
        assert type(copied(method)) is type(method)


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "sentence"),
        [
            ("er_ace+der", "er_ace and der each have a loss of their own"),
            ("ewc+gdumb", "gdumb is a procedure of its own, which nothing can be added to"),
            ("ewc+random", "random is a procedure of its own"),
            ("ewc+ewc", "ewc is named twice"),
            ("rehearsal+er_ace", "er_ace is rehearsal and more; leave the latter out"),
            ("er_ace+rehearsal", "er_ace is rehearsal and more; leave the latter out"),
            ("two_side+bic", "bic is two_side and more; leave the latter out"),
            ("wa+icarl", "wa does not go with icarl, as each learns from the old network by a loss of its own; choose"),
            ("icarl+generative_rehearsal", "icarl does not go with generative_rehearsal, as each learns from the old"),
            ("ewc+si", "ewc does not go with si, as each weight has one importance; choose one of them"),
            ("rwalk+rehearsal+mas", "rwalk does not go with mas"),
            ("hard_moe+si", "hard_moe does not go with si, as no later task trains an expert again"),
            ("hat+dtp", "dtp does not go with hat, as no feedback leads through gates"),
            ("async_rehearsal+icarl", "async_rehearsal does not go with icarl, as exemplars are chosen at the end"),
        ],
    )
    def test_what_cannot_be_joined(self, name, sentence):
        with pytest.raises(InvalidOptionError, match=sentence):
            get_method(name)

    def test_nothing(self):
        with pytest.raises(InvalidOptionError, match="nothing to compose"):
            compose()

    def test_unknown_names(self):
        with pytest.raises(UnknownNameError, match="no method named 'rehersal'"):
            get_method("ewc+rehersal")

    def test_exit_code(self, capsys):
        assert main(["--setting", "class_incremental", "--method", "ewc+gdumb"]) == 2
        assert capsys.readouterr().err.startswith("error: The method ewc+gdumb cannot be made")


@pytest.mark.parametrize("key", METHODS)
def test_every_method_says_where_it_may_stand(key):
    cls = get_method(key)
    if cls.composition is Composition.NEVER:
        with pytest.raises(InvalidOptionError):
            compose(cls, OtherDefaults)
    else:
        other = AgentL2 if issubclass(cls, Agent) else OtherDefaults
        assert isinstance(compose(cls, other)(), Method)


# What two methods need whose defaults do not go together; the message says so before anything runs.
TOGETHER = {("stable_sgd", "dtp"): {"dropout": 0.0}, ("async_rehearsal", "mir"): {"buffer_sampler": "uniform"}}
JOINABLE = [key for key in METHODS if not issubclass(get_method(key), Agent)]


@pytest.fixture(scope="module")
def views():
    return {
        get_setting(key): small_setting(key).for_method()
        for key in ("class_incremental", "task_incremental", "label_budget")
    }


class TestPairs:
    @pytest.mark.parametrize("first", JOINABLE)
    @pytest.mark.few(13)
    def test_what_compose_accepts_configures(self, first, views):
        for second in JOINABLE[JOINABLE.index(first) + 1 :]:
            try:
                cls = get_method(f"{first}+{second}")
            except InvalidOptionError as refusal:
                assert one_sentence(refusal)
                continue
            method = cls(**TOGETHER.get((first, second), {}))
            method.attach(Run(accelerator="cpu"))
            method.configure(next(view for node, view in views.items() if issubclass(node, cls.target)))

    @pytest.mark.parametrize(("first", "second"), TOGETHER)
    def test_defaults_that_do_not_go_together_are_refused_by_name(self, first, second):
        option = next(iter(TOGETHER[first, second]))
        with refused(f"--{option} ", InvalidOptionError):
            get_method(f"{first}+{second}")()

    @pytest.mark.parametrize("first", JOINABLE)
    def test_the_page_tells_what_goes_together(self, first):
        said, excluded = joined_column(), exclusions()
        for second in JOINABLE:
            relatives = are_relatives(get_method(first), get_method(second))
            wanted = (
                "no" not in (said[first], said[second])
                and (said[first], said[second]) != ("one of these", "one of these")
                and frozenset((first, second)) not in excluded
                and not relatives
            )
            assert is_joinable(first, second) == wanted, (first, second)

    @pytest.mark.parametrize("parts", list(itertools.combinations(("ewc", "l2", "mas"), 2)))
    def test_two_penalties_of_an_agent(self, parts):
        with refused("does not go with .* as each weight has one importance", InvalidOptionError):
            get_method("+".join(("dqn", *parts)))


def is_joinable(first: str, second: str) -> bool:
    try:
        get_method(f"{first}+{second}")
    except InvalidOptionError:
        return False
    return True


def are_relatives(first, second):
    """Whether one of two methods is the other one and more."""
    pairs = ((first, second), (second, first))
    return any(issubclass(one, other) or other in one.extends for one, other in pairs)


PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()


def joined_column() -> dict[str, str]:
    """The column \"with +\" of the page's tables, by method."""
    rows = (line.split(" | ") for line in PAGE.splitlines() if line.startswith("| `") and line.count(" | ") == 4)
    return {row[0].strip("| `"): row[3] for row in rows}


def exclusions() -> set[frozenset[str]]:
    """The pairs that do not go together, as the page says."""
    text = PAGE.split("<!-- generated: exclusions -->")[1].split("<!-- end -->")[0]
    rows = (line.split("|") for line in text.splitlines() if line.startswith("| `"))
    keys = ((re.findall("`(.*?)`", row[1]), re.findall("`(.*?)`", row[2])) for row in rows)
    return {frozenset(pair) for pairs in keys for pair in itertools.product(*pairs)}


class TestRuns:
    def test_it_does_what_the_class_written_by_hand_does(self):
        first, second = (
            run_here(small_setting("class_incremental"), cls(buffer_size=20)) for cls in (get_method(BOTH), Written)
        )
        assert first.accuracy_matrix == second.accuracy_matrix

    @pytest.mark.parametrize("part", [{"ewc_lambda": 0.0}, {"replay_ratio": 0.0}])
    def test_each_part_has_an_effect(self, part):
        weights = []
        for options in ({}, part):
            method = get_method(BOTH)(**options)
            run_here(small_setting("class_incremental"), method)
            weights.append(torch.cat([weight.detach().flatten() for weight in method.network.parameters()]))
        assert not torch.equal(*weights)

    def test_without_the_other_part_it_is_the_one(self):
        both = get_method(BOTH)(replay_ratio=0.0)
        alone = EWC()
        matrices = [run_here(small_setting("task_incremental"), method).accuracy_matrix for method in (both, alone)]
        assert matrices[0] == matrices[1]

    @pytest.mark.parametrize("name", [BOTH, "ewc+async_rehearsal", "ewc+der_pp"])
    def test_two_workers(self, two_workers, name):
        first, second = two_workers.run(run_named, name)
        assert comparable(first) == comparable(second)


def run_named(name):
    return run_here(small_setting("distributed_class_incremental"), get_method(name)())


class TestCommandLine:
    def test_options_of_both_results_of_one(self, tmp_path, capsys):
        options = ["--ewc_lambda", "5", "--buffer_size", "20", "--passes", "1", "--nb_tasks", "2", "--quiet"]
        pair = ["--setting", "class_incremental", "--method", BOTH]
        assert main([*pair, *options, "--run_dir", str(tmp_path / "run")]) == 0
        assert f"class_incremental · {BOTH} · digits" in capsys.readouterr().out
        assert main(["--config", str(tmp_path / "run" / "config.yaml"), "--run_dir", str(tmp_path / "again")]) == 0

    def test_help(self, capsys):
        assert main(["--setting", "class_incremental", "--method", BOTH, "--help"]) == 0
        text = capsys.readouterr().out
        assert "strength of the penalty" in text
        assert "samples that the buffer holds" in text
        assert text.count("\n  --lr ") == 1


def test_options_of_one_name_but_two_meanings_are_not_joined():
    @dataclass
    class Sharper(LightningMethod):
        composition = Composition.ANYWHERE
        ewc_lambda: float = 2.0

    for methods in ((Sharper, EWC), (EWC, Sharper)):
        with refused("Sharper and EWC both have an option ewc_lambda; rename the field of Sharper"):
            compose(*methods)
    assert compose(OtherDefaults, EWC)().optimizer.momentum == 0.9
