import pytest
import torch

from redwood.core.errors import InvalidOptionError
from tests.methods.agents.parts import joined, trained, untrained


@pytest.mark.parametrize("name", ["dqn", "ppo", "sac"])
def test_all_weights_that_decide_are_pulled_to_where_the_last_task_left_them(name):
    """The gradient of lambda/2 (w - w*)^2, whatever the tasks before were."""
    agent = untrained(f"{name}+l2", l2_lambda=3.0)
    weights = dict(agent.trained_weights())
    for task in range(3):
        with torch.no_grad():
            for p in weights.values():
                p.add_(torch.randn_like(p))
        agent.on_task_end(task)
    anchor = {key: p.detach().clone() for key, p in weights.items()}
    with torch.no_grad():
        for p in weights.values():
            p.add_(torch.randn_like(p))
    everything = agent.named_parameters()
    for p in everything.values():
        p.grad = torch.full_like(p, 0.5)
    for optimizer in agent.optimizers():
        agent.before_step(optimizer)
    for key, p in everything.items():
        name = f"policy.{key}"
        expected = 3.0 * (p - anchor[name]).detach() if name in anchor else torch.zeros_like(p)
        torch.testing.assert_close(p.grad - 0.5, expected)


def test_it_holds_the_weights():
    first = dict(trained("dqn", {"nb_tasks": 1}, learning_rate=0.003).named_parameters())

    def moved(strength):
        weights = trained("dqn+l2", l2_lambda=strength, learning_rate=0.003).named_parameters()
        return float(sum((p - first[key]).detach().square().sum() for key, p in weights.items()))

    assert moved(10.0) < moved(0.0) / 4


def test_options_out_of_range():
    with pytest.raises(InvalidOptionError, match="--l2_lambda -1 has to be at least 0"):
        joined("dqn+l2", l2_lambda=-1)
