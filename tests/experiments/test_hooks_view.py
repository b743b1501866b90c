"""What a class below a method may override."""

import pytest

from redwood.cli import main
from redwood.core.overrides import warn_of_misnamed
from redwood.experiments.hooks_view import hooks_of
from redwood.methods import METHODS, get_method
from redwood.methods.replay.rehearsal import Rehearsal


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


def test_every_hook_of_the_bases_is_told_where_it_is_misspelt():
    """The list and the warning know the same names."""
    with pytest.warns(UserWarning, match="further_leafs is called by nothing; if it is to override further_leaves"):
        warn_of_misnamed(type("Own", (Rehearsal,), {"further_leafs": lambda self, step: {}}), 1)


def test_list(capsys):
    assert main(["list", "--hooks", "rehearsal"]) == 0
    text = capsys.readouterr().out
    assert "further_leaves(step)" in text and text.index("LightningMethod") < text.index("further_leaves(step)")
    for wrong in (["--hooks", "nosuch"], ["cumulative", "--hooks", "ewc"], ["--hooks", "ewc", "--json"]):
        assert main(["list", *wrong]) == 2


def test_all_methods_have_hooks():
    assert all(next(hooks_of(get_method(key)), None) for key in METHODS)
