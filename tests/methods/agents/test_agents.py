"""The agents of Stable-Baselines3: options with the library's names and defaults."""

import inspect
from dataclasses import fields

import pytest
import stable_baselines3

from redwood.core.errors import InvalidOptionError
from redwood.methods import get_method
from redwood.methods.agents.agent import Agent
from redwood.methods.agents.options import RANGES
from tests.methods.agents.runs import small_setting
from tests.small_runs import run_here

AGENTS = ("ppo", "a2c", "dqn", "sac", "td3")
MEMORIES = ("dqn", "sac", "td3")
# What is no plain value, is set by the run or the setting, or has no effect here.
LEFT_OUT = {
    "policy",
    "env",
    "action_noise",
    "rollout_buffer_class",
    "rollout_buffer_kwargs",
    "replay_buffer_class",
    "replay_buffer_kwargs",
    "optimize_memory_usage",
    "stats_window_size",
    "tensorboard_log",
    "policy_kwargs",
    "verbose",
    "seed",
    "device",
    "_init_setup_model",
}


@pytest.mark.parametrize("key", AGENTS)
def test_names_and_defaults_are_the_library_s(key):
    method = get_method(key)
    library = inspect.signature(getattr(stable_baselines3, key.upper())).parameters
    base = {f.name for f in fields(Agent)} | {"action_noise", "noise_std"}  # an object of the library
    ours = {f.name: f.default for f in fields(method) if f.name not in base}
    assert ours == {name: parameter.default for name, parameter in library.items() if name not in LEFT_OUT}
    assert method.algorithm_class() is getattr(stable_baselines3, key.upper())


BELOW_OR_ABOVE = [
    (key, f.name, value)
    for key in AGENTS
    for f in fields(get_method(key))
    for low, high in [RANGES.get(f.name, (None, None))]
    for value in ([] if low is None else [-2]) + ([] if high is None else [2 * high])
]


@pytest.mark.parametrize(("key", "name", "value"), BELOW_OR_ABOVE)
def test_options_out_of_range(key, name, value):
    with pytest.raises(InvalidOptionError, match=rf"^--{name} {value} has to be at least -?\d"):
        get_method(key)(**{name: value})


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("ppo", {"n_epochs": 0}),
        ("a2c", {"n_steps": 0}),
        ("dqn", {"train_freq": 0}),
        ("dqn", {"batch_size": 0}),
        ("dqn+ewc", {"buffer_size": 0}),
        ("sac", {"target_update_interval": 0}),
        ("td3", {"policy_delay": 0}),
        ("ppo", {"gamma": float("nan")}),
        ("ppo+l2", {"learning_rate": 0.0}),
        ("dqn", {"learning_rate": -1.0}),
        ("td3", {"learning_rate": float("inf")}),
    ],
)
def test_values_without_a_meaning(key, options):
    ((name, value),) = options.items()
    with pytest.raises(InvalidOptionError, match=rf"^--{name} {value} has to be (at least|greater than|a finite)"):
        get_method(key)(**options)


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("ppo", {"target_kl": None, "clip_range_vf": None, "sde_sample_freq": -1, "gae_lambda": 0.0, "gamma": 1.0}),
        ("a2c", {"use_sde": True, "sde_sample_freq": 4, "n_steps": 1, "ent_coef": -0.01, "gamma": 0.0}),
        (
            "dqn",
            {"gradient_steps": -1, "exploration_fraction": 0.0, "exploration_final_eps": 0.0, "learning_starts": 0},
        ),
        ("sac", {"gradient_steps": 0, "tau": 1.0, "ent_coef": "auto_0.1", "batch_size": 1}),
        ("td3", {"tau": 0.0, "target_policy_noise": 0.0, "target_noise_clip": 0.0}),
    ],
)
def test_extreme_values_with_a_meaning(key, options):
    env = "Pendulum-v1" if key in ("sac", "td3", "a2c") else "CartPole-v1"
    small = {"batch_size": 8, "n_steps": 16} if key == "ppo" else {"buffer_size": 50} if key in MEMORIES else {}
    results = run_here(small_setting(env, nb_tasks=1, steps_per_task=40), get_method(key)(**small | options))
    assert results.num_phases == 1
