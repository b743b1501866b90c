from dataclasses import dataclass

import pytest

from redwood.core.overrides import misnamed_hooks
from redwood.core.registry import load_object
from redwood.methods import AGENT_PARTS, METHODS, Rehearsal


@pytest.mark.parametrize(
    ("name", "meant"),
    [("policy", "make_policy"), ("sampler", "make_sampler"), ("augmnet", "augment"), ("losss", "losses")],
)
def test_a_name_that_is_nearly_that_of_a_hook_is_told(name, meant):
    with pytest.warns(UserWarning, match=f"Own.{name} is called by nothing; if it is to override {meant}, give it"):
        type("Own", (Rehearsal,), {name: lambda self: None})


def test_overrides_helpers_and_other_names_are_not(recwarn):
    @dataclass
    class Own(Rehearsal):
        def make_policy(self):
            return self.policy()

        def policy(self):
            return super().make_policy()

        def report(self):
            """For whoever has run it."""

    assert not recwarn.list


@pytest.mark.parametrize("entry", [*METHODS.values(), *AGENT_PARTS.values()], ids=lambda entry: entry.reference)
def test_no_method_of_ours_gives_a_false_alarm(entry):
    assert not list(misnamed_hooks(load_object("method", entry.reference)))
