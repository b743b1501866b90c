"""Agents with a replay memory."""

import warnings

import pytest

from tests.methods.agents.parts import trained
from tests.methods.helpers import one_sentence


def told(**options):
    """What a run of two phases warns of, and how many operations its updates took."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        agent = trained("dqn", {"steps_per_task": 24}, **options)
    return [str(one.message) for one in caught], agent.costs()["training_flops"]


@pytest.mark.parametrize(("learning_starts", "n_envs"), [(100, 1), (24, 1), (20, 5)])
def test_a_phase_that_ends_before_its_first_update_is_told_of_once(learning_starts, n_envs):
    (message,), flops = told(learning_starts=learning_starts, n_envs=n_envs)
    assert flops == 0
    assert f"--learning_starts {learning_starts}" in message and "--steps_per_task" in message
    assert one_sentence(message)


@pytest.mark.parametrize(("learning_starts", "n_envs"), [(23, 1), (20, 1), (19, 5)])
def test_nothing_is_said_where_updates_are_made(learning_starts, n_envs):
    messages, flops = told(learning_starts=learning_starts, n_envs=n_envs)
    assert flops > 0
    assert messages == []
