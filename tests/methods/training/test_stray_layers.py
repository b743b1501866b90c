import warnings
from copy import deepcopy

import pytest
import torch
from torch import nn

from redwood.methods.baselines import Finetune
from tests.small_runs import run_here, small_setting


class Stray(Finetune):
    """Adds a layer where none is looked for."""

    held = staticmethod(lambda layer: layer)

    def configure(self, setting):
        super().configure(setting)
        self.layer = nn.Linear(10, 10)
        self.extra = self.held(self.layer)
        if self.held is not Stray.held:
            del self.__dict__["layer"]

    def forward(self, x, task_id):
        layer = self.extra[0] if isinstance(self.extra, list) else self.extra
        return layer(super().forward(x, task_id))


class InAList(Stray):
    """Holds it in a list."""

    held = staticmethod(lambda layer: [layer])


class Stepped(Stray):
    """Trains it by an optimizer of its own."""

    def configure(self, setting):
        super().configure(setting)
        self.steps = torch.optim.SGD(self.layer.parameters(), 0.1)


class Copies(Finetune):
    """Keeps an earlier network, which gets no gradients."""

    def on_task_start(self, task_id):
        self.earlier = deepcopy(self.network)


class InTheNetwork(Finetune):
    """Does as it should be done."""

    def make_network(self):
        return nn.Sequential(super().make_network(), nn.Linear(10, 10))


def told(method, **options):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        run_here(small_setting("class_incremental", passes=1, **options), method)
    return [str(w.message) for w in found if "no optimizer" in str(w.message)]


@pytest.mark.parametrize(("cls", "name"), [(Stray, "layer"), (InAList, "extra")])
def test_it_is_told_once_with_the_remedy(cls, name):
    (sentence,) = told(cls())
    assert sentence.startswith(f"{cls.__name__}.{name} holds layers that no optimizer trains; make them part of")
    assert "make_network" in sentence


def test_a_single_step_is_enough():
    assert told(Stray(), batch_size=200, nb_tasks=1)


@pytest.mark.parametrize("cls", [Finetune, Stepped, Copies, InTheNetwork])
def test_nothing_is_told_of_what_is_trained_or_needs_no_training(cls):
    assert not told(cls())
