"""The option `policy_kwargs`: texts and mappings, and what the library makes of them."""

import pytest
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.agents.off_policy import DQN, SAC
from redwood.methods.agents.on_policy import PPO
from redwood.methods.agents.policy_kwargs import as_text, read_policy_kwargs
from tests.methods.agents.runs import configured, small_setting
from tests.methods.helpers import one_sentence


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("", {}),
        ({}, {}),
        ("{net_arch: [256, 256], activation_fn: tanh}", {"net_arch": [256, 256], "activation_fn": "tanh"}),
        ('{"net_arch": []}', {"net_arch": []}),
        ({"net_arch": {"pi": (8,), "vf": [4]}}, {"net_arch": {"pi": [8], "vf": [4]}}),
        ("log_std_init: -2", {"log_std_init": -2}),
        (str({"ortho_init": False}), {"ortho_init": False}),  # as in a file of options
    ],
)
def test_read(given, read):
    assert read_policy_kwargs(given) == read
    assert read_policy_kwargs(as_text(read)) == read
    assert PPO(policy_kwargs=given).policy_kwargs == as_text(read)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("256", "--policy_kwargs 256 is no mapping; write one such as"),
        ("{net_arch: [", "is neither YAML nor JSON"),
        ("{net_arc: [2]}", "--policy_kwargs net_arc is unknown; choose among net_arch, activation_fn"),
        ("{net_arch: 256}", "--policy_kwargs net_arch: 256 has to be a list of layer sizes"),
        ("{net_arch: [0]}", r"net_arch: \[0\] has to be a list"),
        ("{net_arch: [true]}", r"net_arch: \[True\] has to be a list"),
        ("{net_arch: {}}", "net_arch: {} has to be a list"),
        ("{activation_fn: Tanh}", "activation_fn: 'Tanh' has to be one of elu, gelu"),
        ("{activation_fn: [tanh]}", r"activation_fn: \[.tanh.\] has to be one of elu, gelu"),
        ("{log_std_init: .nan}", "log_std_init: nan has to be a finite number"),
        ("{n_critics: 0}", "n_critics: 0 has to be a whole number of at least 1"),
    ],
)
def test_refused(given, words):
    with pytest.raises(InvalidOptionError, match=words) as caught:
        PPO(policy_kwargs=given)
    assert one_sentence(caught.value)


@pytest.mark.parametrize(
    ("make", "env", "given", "words"),
    [
        (DQN, "CartPole-v1", {"n_critics": 2}, "n_critics is not for this agent; choose among net_arch, activation_fn"),
        (DQN, "CartPole-v1", {"net_arch": {"pi": [2], "qf": [2]}}, "has to be one list of layer sizes"),
        (PPO, "CartPole-v1", {"net_arch": {"pi": [2]}}, "a list for each of pi and vf, or one list"),
        (SAC, "Pendulum-v1", {"net_arch": {"pi": [2], "vf": [2]}}, "a list for each of pi and qf, or one list"),
        (SAC, "Pendulum-v1", {"ortho_init": True}, "ortho_init is not for this agent"),
    ],
)
def test_what_the_networks_of_an_agent_do_not_have(make, env, given, words):
    with pytest.raises(InvalidOptionError, match=words) as caught:
        configured(make(policy_kwargs=given), small_setting(env))
    assert one_sentence(caught.value)


def test_networks_are_made_with_them():
    agent = configured(
        PPO(policy_kwargs="{net_arch: {pi: [7], vf: [5, 3]}, activation_fn: relu}"), small_setting("CartPole-v1")
    )
    extractor = agent.algorithm.policy.mlp_extractor
    assert [type(layer) for layer in extractor.policy_net] == [nn.Linear, nn.ReLU]
    assert [layer.out_features for layer in extractor.value_net if isinstance(layer, nn.Linear)] == [5, 3]
    dqn = configured(DQN(policy_kwargs={"net_arch": [6]}), small_setting("CartPole-v1"))
    assert dqn.algorithm.q_net.q_net[0].out_features == 6
