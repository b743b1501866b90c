"""Options of reinforcement settings, and what is refused."""

import gymnasium
import pytest
import torch

from redwood.core.errors import InvalidOptionError, NotApplicableError, RedwoodError, UnknownNameError
from redwood.methods.baselines import Random
from redwood.settings.rl.budget import BudgetSpentError
from redwood.settings.rl.environment import InvalidActionError
from redwood.settings.rl.tree import ContinualRLSetting, IncrementalRLSetting, TaskIncrementalRLSetting
from tests.settings.rl.clock import Clock, OtherClock, clock

NO_LIMIT = "--max_episode_steps is missing: Clock does not tell after how many steps an episode ends; give a number."


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"env": "CartPoll-v1"}, "There is no environment named 'CartPoll-v1'. Did you mean CartPole-v1?"),
        ({"env": "cartpole"}, "Did you mean CartPole-v1?"),
        ({"env": "CartPole-v1,Acrobot-v1"}, "tasks share their observations and actions, but Acrobot-v1 has"),
        ({"env": 3}, "--env 3 has to be the name of a gymnasium environment"),
        ({"env": "Blackjack-v1"}, "--env Blackjack-v1 has observations of the space Tuple"),
        ({"env": Clock, "max_episode_steps": 0, "nb_tasks": 1}, NO_LIMIT),
        ({"tasks": ["gravity"]}, "--tasks gravity has to be default, or changes of the physics such as length=2.0"),
        ({"tasks": ["gravity=x"]}, "--tasks gravity=x has to be default"),
        ({"tasks": ["gravity=nan"]}, "--tasks gravity=nan has to be default"),
        ({"tasks": ["default"], "nb_tasks": 2}, "--nb_tasks 2 contradicts --tasks, which has 1"),
        ({"tasks": ["default"], "attributes": ["length"]}, "leave --attributes out"),
        ({"env": "CartPole-v1,CartPole-v0", "attributes": ["length"]}, "--attributes changes one environment"),
        ({"env": "CartPole-v1,CartPole-v0", "nb_tasks": 3}, "--nb_tasks 3 contradicts --env, which has 2 environments"),
        ({"env": "supervised:diabetes"}, "no data set named|are numbers"),
        ({"steps_per_task": 0}, "--steps_per_task 0 has to be at least 1"),
        ({"test_episodes": 0}, "--test_episodes 0 has to be at least 1"),
        ({"task_noise": -1.0}, "--task_noise -1.0 has to be at least 0"),
    ],
)
def test_bad_input_ends_in_one_sentence(options, sentence):
    with pytest.raises(RedwoodError, match=sentence) as caught:
        IncrementalRLSetting(**options).open_stream()
    assert "\n" not in str(caught.value)


def test_kinds_of_errors():
    with pytest.raises(UnknownNameError):
        IncrementalRLSetting(env="CartPoll-v1").open_stream()
    with pytest.raises(NotApplicableError):
        IncrementalRLSetting(env="Blackjack-v1").open_stream()
    with pytest.raises(InvalidOptionError, match="passes"):
        IncrementalRLSetting().resolve("passes", 3, 1)


@pytest.mark.parametrize("action", [2, -1, "left", [0, 1]])
def test_choices_outside_the_action_space(action):
    env = next(clock(IncrementalRLSetting).phases()).train
    env.reset()
    with pytest.raises(InvalidActionError, match="outside the environment's action space Discrete"):
        env.step(action)
    env.step(1)


@pytest.mark.parametrize("action", [[2.1], [-3.0], [0.0, 0.0], [float("nan")]])
def test_numbers_outside_the_action_space(action):
    env = next(IncrementalRLSetting(env="Pendulum-v1").phases()).train
    env.reset()
    with pytest.raises(InvalidActionError, match="outside the environment's action space Box"):
        env.step(action)
    env.step([2.0])


def test_a_prediction_outside_the_action_space():
    class Wrong(Random):
        def predict(self, x, task_id):
            return super().predict(x, task_id) + 5

    with pytest.raises(InvalidActionError, match=r"The action [56] is outside"):
        clock(TaskIncrementalRLSetting).apply(Wrong(), quiet=True)


def test_a_prediction_for_too_few():
    class TooFew(Random):
        def fit(self, phase):
            pass

        def predict(self, x, task_id):
            return super().predict(x, task_id)[:1]

    with pytest.raises(RedwoodError, match="return one action for each"):
        clock(IncrementalRLSetting).apply(TooFew(), quiet=True)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_copies_share_the_budget_to_the_step(n):
    phase = next(clock(IncrementalRLSetting, max_episode_steps=50).phases())
    environments, taken = phase.environments(n), []
    for env in environments:
        env.reset()
    with pytest.raises(BudgetSpentError):
        while True:
            for env in environments:
                taken.append(env.step(1))
    assert len(taken) == phase.budget.spent == phase.budget.total
    for env in environments:
        with pytest.raises(BudgetSpentError):
            env.step(1)


def test_environments_that_look_actions_up_in_a_table():
    setting = IncrementalRLSetting(env="FrozenLake-v1", nb_tasks=1, steps_per_task=20, test_episodes=2)
    assert setting.apply(Random(), quiet=True).cost.training_samples == 20


def test_actions_may_have_a_gradient():
    phase = next(IncrementalRLSetting(env="Pendulum-v1", steps_per_task=20).phases())
    phase.play(lambda x, task_id: torch.zeros(1, 1, requires_grad=True))
    assert phase.budget.left == 0


@pytest.mark.parametrize("cls", [IncrementalRLSetting, ContinualRLSetting])
@pytest.mark.parametrize("env", [Clock, [Clock, OtherClock]])
def test_a_method_sees_how_many_tasks_there_are_where_these_are_announced(cls, env):
    attributes = [] if isinstance(env, list) else ["gain"]
    setting = clock(cls, env=env, nb_tasks=None, attributes=attributes)
    view, announced = setting.for_method(), cls is IncrementalRLSetting
    assert view.num_tasks == (None if not announced else 2 if isinstance(env, list) else 3)
    # The names of several environments would tell.
    assert view.env == (None if isinstance(env, list) and not announced else setting.dataset_name)


def test_several_names_are_a_task_each():
    setting = IncrementalRLSetting(env="CartPole-v0,CartPole-v1")
    assert (setting.num_tasks, setting.dataset_name) == (2, "CartPole-v0,CartPole-v1")
    results = setting.apply(Random(), quiet=True)
    assert results.dataset == "CartPole-v0,CartPole-v1"


def test_environments_are_gymnasium_environments():
    env = next(IncrementalRLSetting().phases()).train
    assert isinstance(env, gymnasium.Env)
    assert env.unwrapped.gravity == 9.8
