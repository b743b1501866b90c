"""Environments by name."""

import importlib.util

import gymnasium
import pytest

from redwood.settings.errors import RedwoodError, UnknownNameError
from redwood.settings.rl.environments import find_environment


@pytest.mark.filterwarnings("ignore:.*is out of date")
@pytest.mark.parametrize("name", ["Hopper-v3", "HalfCheetah-v2"])
def test_environments_that_are_only_named(name):
    with pytest.raises(RedwoodError, match=rf"^--env {name} needs a package that is missing: .*[Mm]u[Jj]o[Cc]o.*\.$"):
        find_environment(name)


@pytest.mark.skipif(importlib.util.find_spec("jax") is not None, reason="needs JAX to be missing")
def test_environments_of_a_package_that_is_missing():
    with pytest.raises(RedwoodError, match=r"^--env phys2d/CartPole-v1 needs a package that is missing: .*jax.*\.$"):
        find_environment("phys2d/CartPole-v1")


def test_those_that_can_be_made_are_known():
    with pytest.raises(UnknownNameError) as caught:
        find_environment("Hopper-v9")
    known = str(caught.value).partition("Known: ")[2].rstrip(".").split(", ")
    assert {"CartPole-v1", "Hopper-v4", "Hopper-v5"} <= set(known)
    # Where later versions of gymnasium only name them, a function that raises an error stands for them.
    gone = {name for name in ("Hopper-v2", "Hopper-v3", "Reacher-v2") if callable(gymnasium.spec(name).entry_point)}
    assert not (gone | {"phys2d/CartPole-v1"}) & set(known)
