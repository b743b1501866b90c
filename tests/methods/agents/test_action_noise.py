"""Noise on the actions of td3."""

import numpy as np
import pytest
from stable_baselines3.common.noise import VectorizedActionNoise

from redwood.core.errors import InvalidOptionError
from redwood.methods.agents.action_noise import load_noise_state, make_noise, noise_state
from redwood.methods.agents.off_policy import TD3
from tests.methods.agents.runs import configured, small_setting


def test_normal_noise_has_the_deviation():
    np.random.seed(0)
    drawn = np.stack([make_noise("normal", 0.3, 2)() for _ in range(4000)])
    assert drawn.shape == (4000, 2)
    assert np.allclose(drawn.std(0), 0.3, atol=0.02)
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.05


def test_ornstein_uhlenbeck_noise_follows_its_equation():
    noise = make_noise("ou", 0.3, 1)
    np.random.seed(0)
    found = [noise().item() for _ in range(3)]
    np.random.seed(0)
    value, expected = 0.0, []
    for _ in range(3):
        value += 0.15 * (0 - value) * 0.01 + 0.3 * 0.1 * np.random.normal()
        expected.append(value)
    assert np.allclose(found, expected)


@pytest.mark.parametrize("vectorised", [False, True])
def test_processes_go_on_where_they_were(vectorised):
    def make():
        noise = make_noise("ou", 0.5, 2)
        return VectorizedActionNoise(noise, 3) if vectorised else noise

    first, second = make(), make()
    first()
    state = noise_state(first)
    assert len(state) == (3 if vectorised else 1)
    np.random.seed(1)
    expected = first()
    load_noise_state(second, state)
    np.random.seed(1)
    assert np.array_equal(second(), expected)
    with pytest.raises(ValueError, match="its noise on actions is another one"):
        load_noise_state(make_noise("ou", 0.5, 1), state)
    with pytest.raises(ValueError, match="its noise on actions is another one"):
        load_noise_state(None, state)


def test_noise_changes_what_is_done_and_stored():
    def actions(**options):
        agent = TD3(learning_starts=0, batch_size=4, buffer_size=48, learning_rate=1e-12, **options)
        agent = configured(agent, small_setting("Pendulum-v1", steps_per_task=30))
        agent.fit(small_setting("Pendulum-v1", steps_per_task=30).open_stream().phase(0))
        return agent.algorithm.replay_buffer.actions[:30].ravel()

    still, noisy, ou = actions(), actions(action_noise="normal", noise_std=0.5), actions(action_noise="ou")
    assert np.abs(noisy - still).max() > 0.3
    assert 0 < np.abs(ou - still).max() < 0.3
    assert np.abs(noisy).max() <= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"action_noise": "pink"}, "--action_noise pink is unknown; choose one of none, normal, ou"),
        ({"action_noise": "ou", "noise_std": 0.0}, "--noise_std 0.0 has to be greater than 0"),
        ({"noise_std": 0.2}, "--noise_std 0.2 does not go with td3, which adds no noise to its actions; leave it out"),
    ],
)
def test_refused(options, words):
    with pytest.raises(InvalidOptionError, match=words):
        TD3(**options)
