"""A method that a worker could not send back at the end of a run is told at its start."""

from dataclasses import dataclass

import pytest
import torch

from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.engine.loop import run_protocol
from redwood.engine.run import Run
from redwood.engine.sending import check_can_be_sent
from redwood.methods import get_method
from redwood.methods.base import Method
from redwood.settings.base import Setting
from redwood.settings.rl.tree import ContinualRLSetting, DistributedIncrementalRLSetting, IncrementalRLSetting
from tests.methods.agents.parts import joined
from tests.methods.agents.runs import small_setting
from tests.settings.rl.clock import Clock, clock
from tests.small_runs import small_setting as small_supervised


@dataclass
class Keeper(Method):
    """Keeps its environment."""

    target = Setting

    def configure(self, setting):
        self.scored = 0

    def fit(self, phase):
        self.env = phase.train
        phase.play(lambda x, task_id: torch.zeros(len(x), dtype=torch.long))

    def predict(self, x, task_id):
        self.scored += 1
        return torch.zeros(len(x), dtype=torch.long)


class Configured(Keeper):
    def configure(self, setting):
        super().configure(setting)
        self.rule = lambda x: x


class LetsGo(Keeper):
    def on_finish(self, results):
        del self.env


def as_a_worker(setting, method):
    run = Run(quiet=True, accelerator="cpu")
    run.sends_back = True
    return run_protocol(setting, method, run)


@pytest.mark.parametrize("cls", [IncrementalRLSetting, ContinualRLSetting])
def test_a_kept_environment_is_told_after_the_first_phase(cls):
    keeper = Keeper()
    with pytest.raises(
        InvalidOptionError, match=r"^Keeper keeps self\.env, of the class \w+, which a worker"
    ) as caught:
        as_a_worker(clock(cls), keeper)
    assert "\n" not in str(caught.value)
    calls = keeper.scored
    as_a_worker(clock(cls, nb_tasks=1), LetsGo())  # its own on_finish may let go of it
    assert calls == 0


def test_what_is_there_from_the_start_is_told_before_any_phase():
    keeper = Configured()
    with pytest.raises(InvalidOptionError, match=r"^Configured keeps self\.rule, of the class function"):
        as_a_worker(clock(IncrementalRLSetting), keeper)
    assert not hasattr(keeper, "env")


@pytest.mark.parametrize("name", ["ppo", "dqn+ewc+rehearsal"])
def test_agents_can_be_sent(name):
    as_a_worker(small_setting("CartPole-v1"), joined(name))


@pytest.mark.parametrize("name", ["finetune", "ewc+rehearsal", "random"])
def test_methods_can_be_sent(name):
    method = get_method(name)()
    as_a_worker(small_supervised("class_incremental", nb_tasks=2, passes=1), method)
    check_can_be_sent(method, at_end=True)


@pytest.mark.slow
def test_two_workers():
    with pytest.raises(RedwoodError, match=r"^Keeper keeps self\.env, of the class TaskEnvironment"):
        clock(DistributedIncrementalRLSetting, env=Clock).apply(Keeper(), quiet=True, accelerator="cpu")
