"""Every method runs in every reinforcement setting that it applies to, agents with what can be joined to them, too."""

import json
import math

import pytest
import torch

from redwood.methods import get_method
from redwood.settings import SETTINGS, get_setting
from redwood.settings.base import why_not_applicable
from redwood.settings.scores.results import Results
from tests.methods.agents.parts import WITH_PARTS, joined
from tests.methods.agents.runs import SMALL
from tests.small_runs import comparable, once, run_here

N_TASKS, STEPS = 2, 64
ALL = ["random", *SMALL, *WITH_PARTS]
PAIRS = [
    (setting, method)
    for setting in SETTINGS
    for method in ALL
    if get_setting(setting).assumptions.rewards and why_not_applicable(get_setting(setting), get_method(method)) is None
]
ALONE = [pair for pair in PAIRS if get_setting(pair[0]).assumptions.workers.low == 1]
TOGETHER = [pair for pair in PAIRS if pair not in ALONE]


def run_pair(setting_key, method_key):
    """The results, and the weights that they leave on this worker."""
    env = "CartPole-v1" if method_key == "random" else SMALL[method_key.split("+")[0]][1]
    setting = get_setting(setting_key)(
        env=env, nb_tasks=N_TASKS, steps_per_task=STEPS, test_episodes=2, max_episode_steps=20
    )
    method = get_method("random")() if method_key == "random" else joined(method_key)
    results = run_here(setting, method)
    weights = [] if method_key == "random" else list(method.named_parameters().values())
    return results, [weight.detach() for weight in weights]


def check_results(results, setting_key, method_key):
    assumptions = get_setting(setting_key).assumptions
    phases = N_TASKS if assumptions.boundaries and assumptions.context < 2 else 1
    assert (results.setting, results.method) == (setting_key, method_key)
    assert [len(row) for row in results.return_matrix] == [N_TASKS] * phases
    assert all(math.isfinite(value) for row in results.return_matrix for value in row)
    assert results.cost.training_samples == N_TASKS * STEPS
    assert len(results.random_return) == N_TASKS
    if method_key != "random":
        assert results.cost.training_flops > 0
        assert results.cost.parameters > 0
        assert results.cost.buffer_bytes > 0
    content = json.loads(json.dumps(results.to_dict()))
    assert Results.from_dict(content).to_dict() == content


@pytest.mark.parametrize(("setting", "method"), once(ALONE, "incremental_rl"))
def test_one_worker(setting, method):
    results, weights = run_pair(setting, method)
    check_results(results, setting, method)
    assert all(bool(torch.isfinite(weight).all()) for weight in weights)


@pytest.mark.parametrize(("setting", "method"), once(TOGETHER, "distributed_incremental_rl"))
@pytest.mark.few(8)
def test_two_workers(two_workers, setting, method):
    (first, weights), (second, others) = two_workers.run(run_pair, setting, method)
    check_results(first, setting, method)
    assert comparable(first) == comparable(second)
    for mine, theirs in zip(weights, others, strict=True):
        assert torch.equal(mine, theirs), "the workers' networks have drifted apart"
