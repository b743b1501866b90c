"""A learning rate that is far too large ends the run of any method with a sentence."""

from dataclasses import fields

import pytest
import torch
from torch import nn

from redwood.core.errors import InvalidPredictionError, RedwoodError
from redwood.methods import METHODS, get_method
from redwood.methods.baselines import Finetune
from redwood.settings import get_setting
from redwood.settings.base import why_not_applicable
from tests.methods.agents.runs import SMALL
from tests.methods.agents.runs import small_setting as small_rl_setting
from tests.small_runs import OPTIONS, run_here, small_setting

SETTINGS = ("class_incremental", "cumulative", "task_incremental", "osaka")
SETTINGS += ("federated_class_incremental", "acquisition", "label_budget")
# The slow weights of these learn in episodes alone.
EPISODES = {key: {"pretraining": 20, "query_shots": 2} for key in ("maml", "anil")}
WITH_RATE = [name for name in METHODS if name not in SMALL and "lr" in {f.name for f in fields(get_method(name))}]
TOLD = r"^Training diverged: \S+( \S+)* after \d+ steps; use a smaller --lr\.$"


def setting_for(name):
    key = next(key for key in SETTINGS if why_not_applicable(get_setting(key), get_method(name)) is None)
    return small_setting(key, **EPISODES.get(name, {}))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WITH_RATE)
@pytest.mark.few(12)
def test_every_method_tells_it(name):
    with pytest.raises(RedwoodError, match=TOLD):
        run_here(setting_for(name), get_method(name)(**OPTIONS.get(name, {}), lr=1e6))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SMALL)
def test_every_agent_tells_it(name):
    agent, env = SMALL[name]
    with pytest.raises(RedwoodError, match=r"^Training diverged: .* after \d+ steps; use a smaller --learning_rate\.$"):
        run_here(small_rl_setting(env), agent(learning_rate=1e6))


def test_losses_of_adam_stay_finite():
    """Its steps are as long as the rate, and no longer."""
    with pytest.raises(RedwoodError, match=r"^Training diverged: the loss is \d\S+ after \d+ steps"):
        run_here(small_setting("class_incremental"), Finetune(optimizer="adam", lr=1e6))


@pytest.mark.parametrize("rate", [10.0, 1e6])
def test_where_predictions_are_asked_for_before_the_labels_come(rate):
    with pytest.raises(RedwoodError, match=TOLD):
        run_here(small_setting("osaka"), Finetune(lr=rate))


class Overshooting(nn.Linear):
    """Its gradients are of use, but those of the last step."""

    def __init__(self):
        super().__init__(64, 10)
        self.calls = 0

    def forward(self, x):
        if self.training:
            self.calls += 1
        outputs = super().forward(x.flatten(1).float())
        if self.training and self.calls == 4:
            outputs.register_hook(lambda gradient: gradient * torch.inf)
        return outputs


def test_in_the_last_step():
    """No loss follows it."""
    setting = small_setting("class_incremental", nb_tasks=1, passes=1, batch_size=40)
    with pytest.raises(RedwoodError, match=r"^Training diverged: \S+ is not finite after 4 steps; use a smaller --lr"):
        run_here(setting, Finetune(model=Overshooting()))


class HugeOnce(nn.Linear):
    """Its third training batch has a huge loss, and nothing else shows it."""

    def __init__(self):
        super().__init__(64, 10)
        self.calls = 0

    def forward(self, x):
        self.calls += self.training
        outputs = super().forward(x.flatten(1).float())
        return outputs.detach() * 1e12 + outputs * 0 if self.training and self.calls == 3 else outputs


def test_before_a_checkpoint_takes_the_place_of_a_sound_one(tmp_path):
    setting = small_setting("class_incremental", nb_tasks=1, passes=1, batch_size=40)
    told = r"^Training diverged: the loss is \S+ after 3 steps; use a smaller --lr"
    with pytest.raises(RedwoodError, match=told):
        run_here(setting, Finetune(model=HugeOnce()), run_dir=str(tmp_path / "run"), checkpoint_every=1)
    (kept,) = (tmp_path / "run" / "checkpoints").glob("inside-phase-*.ckpt")
    assert torch.load(kept, weights_only=False)["global_step"] == 2


def test_wrong_answers_of_a_sound_training_stay_what_they_are():
    class Wrong(Finetune):
        def predict(self, x, task_id):
            return super().predict(x, task_id) * torch.nan

    with pytest.raises(InvalidPredictionError, match="predict returned nan"):
        run_here(small_setting("osaka"), Wrong())
