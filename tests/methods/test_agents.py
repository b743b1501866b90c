"""The agents of Stable-Baselines3: options with the library's names and defaults."""

import inspect
import subprocess
import sys
from dataclasses import fields

import pytest
import stable_baselines3

from redwood.methods import get_method
from redwood.methods.agents.agent import Agent
from redwood.settings.rl.continual import ContinualRLSetting

AGENTS = ("ppo", "a2c", "dqn", "sac", "td3")
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
    base = {f.name for f in fields(Agent)}
    ours = {f.name: f.default for f in fields(method) if f.name not in base}
    assert ours == {name: parameter.default for name, parameter in library.items() if name not in LEFT_OUT}
    assert method.algorithm_class() is getattr(stable_baselines3, key.upper())


@pytest.mark.parametrize("key", AGENTS)
def test_reaches_the_root(key):
    assert get_method(key).target is ContinualRLSetting


def test_the_library_is_imported_once_it_is_needed():
    script = "import sys; from redwood.methods import get_method; " + "".join(f"get_method('{k}'); " for k in AGENTS)
    script += "print('stable_baselines3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"
