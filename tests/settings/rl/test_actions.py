"""Which actions lie in an action space."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from redwood.core.seeding import generator
from redwood.settings.rl.actions import action_check, random_actions

WHOLE = [1, np.int64(1), np.int32(1), np.uint8(1), np.array(1), np.array(1, np.int32)]
FRACTIONS = [1.0, np.float64(1), np.float32(1), np.array(1.0), torch.tensor(1.0), 0.5]


@pytest.mark.parametrize("action", WHOLE, ids=repr)
def test_choices(action):
    assert action_check(Discrete(2))(action)
    assert not action_check(Discrete(1))(action)
    assert not action_check(Discrete(3, start=2))(action)


@pytest.mark.parametrize("action", [*FRACTIONS, "1", None, [1], np.array([1, 0]), np.array([1])], ids=repr)
def test_no_choices(action):
    """Not even a number equal to one: environments do not take them."""
    assert not action_check(Discrete(2))(action)


def test_choices_start_anywhere():
    allows = action_check(Discrete(3, start=-1))
    assert [action for action in range(-4, 5) if allows(np.int64(action))] == [-1, 0, 1]


@pytest.mark.parametrize("space", [Discrete(3, start=4), Box(-2, 3, (2,))])
def test_random_actions_are_allowed(space):
    allows = action_check(space)
    actions = random_actions(space, 200, generator(0, "actions"))
    assert all(allows(action) for action in actions.numpy())
    assert len(actions.unique()) >= 3
