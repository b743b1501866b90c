"""Divergence is told, wherever it shows first."""

import pytest
import torch

from redwood.core.errors import RedwoodError
from redwood.methods.agents.on_policy import A2C
from tests.methods.agents.runs import SMALL, configured, small_setting


def fit(agent, env):
    setting = small_setting(env)
    configured(agent, setting).fit(setting.open_stream().phase(0))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "env", "rate"),
    [
        ("ppo", "Pendulum-v1", 100.0),  # in the next forward pass of the same training
        ("a2c", "CartPole-v1", 1e30),  # in the next step
        ("sac", "Pendulum-v1", 100.0),  # in a distribution
        ("td3", "Pendulum-v1", 1e30),  # in an action that the environment refuses
    ],
)
def test_before_a_loss_is_reported(name, env, rate):
    with pytest.raises(
        RedwoodError, match=r"^Training diverged: \S+ is not finite after \d+ steps; use a smaller --learning_rate\.$"
    ):
        fit(SMALL[name][0](learning_rate=rate), env)


def test_in_the_last_update():
    """Or else the episodes that score the agent would fail."""

    class Last(A2C):
        def after_step(self, optimizer):
            super().after_step(optimizer)
            if self.phase.budget.left == 0:
                with torch.no_grad():
                    optimizer.param_groups[0]["params"][0].fill_(torch.nan)

    with pytest.raises(RedwoodError, match=r"^Training diverged: .* after 70 steps; use a smaller"):
        fit(Last(), "CartPole-v1")


def test_other_errors_stay_what_they_are():
    class Failing(A2C):
        def after_step(self, optimizer):
            raise ValueError("of its own")

    with pytest.raises(ValueError, match=r"^of its own$"):
        fit(Failing(), "CartPole-v1")
