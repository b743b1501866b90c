"""What a class below a method may override."""

from dataclasses import fields

import pytest

from redwood.cli import main
from redwood.core.overrides import warn_of_misnamed
from redwood.experiments.hooks_view import GROUPS, fields_of_step, grouped, hooks_of
from redwood.methods import METHODS, get_method
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.step import Step


@pytest.mark.parametrize("key", ["rehearsal", "ppo", "random", "ewc+rehearsal"])
def test_each_hook_is_there_once_where_it_was_declared_first(key):
    hooks = list(hooks_of(get_method(key)))
    names = [hook.call.partition("(")[0] for hook in hooks]
    assert len(set(names)) == len(names)
    assert all(hook.summary for hook in hooks)
    bases = list(dict.fromkeys(hook.declared_by for hook in hooks))
    assert bases[0] == "Method" and names[:3] == ["attach", "configure", "fit"]


def test_the_summary_is_that_of_the_class_itself():
    by_call = {hook.call: hook for hook in hooks_of(Rehearsal)}
    assert by_call["further_leaves(step)"].declared_by == "Rehearsal"
    assert by_call["augment(step)"].declared_by == "LightningMethod"


@pytest.mark.parametrize("key", ["rehearsal", "ppo", "random"])
def test_each_hook_is_in_one_group(key):
    hooks = list(hooks_of(get_method(key)))
    groups = grouped(hooks)
    assert sorted(call for lines in groups.values() for call in lines) == sorted(hook.call for hook in hooks)


def test_the_groups_name_hooks_that_there_are():
    named = {hook.call.partition("(")[0] for key in METHODS for hook in hooks_of(get_method(key))}
    assert {name for names in GROUPS.values() for name in names} <= named


def test_fields_of_a_step():
    told = dict(fields_of_step())
    assert told.keys() == {field.name for field in fields(Step)} and all(told.values())


def test_every_hook_of_the_bases_is_told_where_it_is_misspelt():
    """The list and the warning know the same names."""
    with pytest.warns(UserWarning, match="further_leafs is called by nothing; if it is to override further_leaves"):
        warn_of_misnamed(type("Own", (Rehearsal,), {"further_leafs": lambda self, step: {}}), 1)


def test_list(capsys):
    assert main(["list", "--hooks", "rehearsal"]) == 0
    text = capsys.readouterr().out
    order = ["a training step", "\nloss(step)", "before and after a phase", "should_add(step)", "further of Method"]
    assert (places := [text.index(part) for part in [*order, "fields of step", "\nreplayed "]]) == sorted(places)
    for wrong in (["--hooks", "nosuch"], ["cumulative", "--hooks", "ewc"], ["--hooks", "ewc", "--json"]):
        assert main(["list", *wrong]) == 2


def test_all_methods_have_hooks():
    assert all(next(hooks_of(get_method(key)), None) for key in METHODS)
