"""What a sweep was asked for."""

from dataclasses import replace

import pytest
import yaml

from redwood.core.errors import NotApplicableError, RedwoodError
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.sweeps.plan import (
    FILE,
    SweepPlan,
    held_out_share,
    is_sweep,
    parse_objectives,
    phases_of,
    refuse_without_score,
    tuned,
)
from tests.experiments.sweeps.test_trials import BOTH, PLAN

PAIR = Pair("class_incremental", "random")


def test_it_is_read_as_it_was_written(tmp_path):
    plan = replace(BOTH, folder=tmp_path / "sweep", space={"lr": "1..2", "kind": ["a,b", "c"]})
    assert not is_sweep(plan.folder)
    plan.save()
    assert is_sweep(plan.folder)
    assert SweepPlan.load(plan.folder) == plan


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sweep": 9}, "was written by another version of redwood"),
        ({"trials": 0}, "start the sweep anew"),
        ({"measure": "beauty"}, "names a measure or an objective that does not exist"),
        ({"objectives": ["beauty"]}, "names a measure or an objective that does not exist"),
    ],
)
def test_a_damaged_file(tmp_path, change, sentence):
    replace(PLAN, folder=tmp_path).save()
    content = yaml.safe_load((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(yaml.safe_dump(content | change))
    with pytest.raises(RedwoodError, match=sentence):
        SweepPlan.load(tmp_path)


def test_code_in_it_has_to_be_trusted(tmp_path):
    for changed in (
        replace(PLAN, pair=Pair("class_incremental", "own.py:Own")),
        replace(PLAN, arguments=["--model", "own.py:Net"]),
        replace(PLAN, space={"model": ["own.py:Net", "mlp"]}),
    ):
        with pytest.raises(RedwoodError, match="names code that would be run"):
            changed.refuse_untrusted()
    PLAN.refuse_untrusted()


def test_directions():
    assert BOTH.directions == ["maximize", "minimize"]
    assert replace(BOTH, measure="rmse").directions == ["minimize", "minimize"]
    assert replace(PLAN, measure="return").directions == ["maximize"]


def test_objectives():
    assert parse_objectives("accuracy, flops") == ["accuracy", "flops"]
    for text in ("flops", "flops,accuracy", "beauty", ""):
        with pytest.raises(RedwoodError, match="is unknown; choose accuracy, or accuracy,flops"):
            parse_objectives(text)


def test_protocols():
    assert phases_of("all_tasks", 5, PAIR) == 5
    assert phases_of("first_4_tasks", 5, PAIR) == 4


@pytest.mark.parametrize(
    ("protocol", "phases", "sentence"),
    [
        ("first_k_tasks", 5, "--protocol first_k_tasks is unknown; choose all_tasks, or first_2_tasks"),
        ("first_0_tasks", 5, "is unknown"),
        ("first_5_tasks", 5, "leaves no task of the 5"),
        ("first_1_tasks", 1, "class_incremental has one phase for all; use all_tasks"),
    ],
)
def test_bad_protocols(protocol, phases, sentence):
    with pytest.raises(RedwoodError, match=sentence):
        phases_of(protocol, phases, PAIR)


class TestHeldOut:
    @staticmethod
    def share(setting, *arguments, method="random"):
        pair = Pair(setting, method)
        return held_out_share(tuned(pair, list(arguments)), list(arguments))

    def test_a_share_is_added_if_none_is_held_out(self):
        assert self.share("class_incremental") == 0.1
        assert self.share("class_incremental", "--validation", "0.2") is None

    def test_nothing_is_held_out_in_environments(self):
        assert self.share("incremental_rl") is None

    @pytest.mark.parametrize("setting", ["label_budget", "osaka"])
    def test_where_nothing_can_be(self, setting):
        with pytest.raises(NotApplicableError, match=f"sweep goes by held-out samples, .* {setting} can hold out none"):
            refuse_without_score(Pair(setting, "random"))

    def test_where_nothing_is(self):
        with pytest.raises(RedwoodError, match=r"--validation 0\.001 holds out no sample"):
            self.share("class_incremental", "--validation", "0.001")
