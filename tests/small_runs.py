"""Runs on few real samples, for tests that look at what a run leaves behind."""

import os
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from _pytest.mark import ParameterSet
from gymnasium.spaces import Discrete
from torch import Tensor, nn

from redwood.engine.loop import run_protocol
from redwood.engine.run import Run
from redwood.methods import get_method
from redwood.methods.base import Method
from redwood.methods.baselines import Random
from redwood.methods.lightning import LightningMethod
from redwood.settings import get_setting
from redwood.settings.scores.results import Results
from tests.samples import few_digits

# Where runs train: `REDWOOD_TEST_ACCELERATOR=gpu pytest tests/test_pairs.py` tries all methods on a GPU.
ACCELERATOR = os.environ.get("REDWOOD_TEST_ACCELERATOR", "cpu")
# What would take long by default.
OPTIONS = {"gdumb": {"memory_passes": 5}, "continual_maml": {"prolonged_batches": 3}}
MEASURED = ("wall_time_s", "training_time_s", "evaluation_time_s", "samples_per_s", "peak_memory_bytes", "rehearsal")


@dataclass
class FixedRule(Random):
    """Predicts by a fixed function of the sample, where `Random` guesses; scored online as it is."""

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        assert isinstance(self._space, Discrete)
        return x.flatten(1).long().sum(1) % int(self._space.n)


@dataclass
class Trained:
    """A run, and the method that it left behind on this worker."""

    results: Results
    weights: list[Tensor]
    scores: Tensor
    reloaded_scores: Tensor


def small_setting(key: str, **options: Any) -> Any:
    """A setting on few digits, few tasks and two passes, or one where it has to be."""
    cls: type[Any] = get_setting(key)
    if key == "osaka":  # it draws tasks and batches itself: 10 steps of 16 samples
        options = without(options, "passes", "stream", "transition", "eval_tasks", "label_delay", *cls.unused_options)
        domains = ["permuted", "inverted"]
        sizes = {"ways": 4, "shots": 4, "timesteps": 10, "stay_probability": 0.3}
        return cls(**{"dataset": few_digits(), "out_of_distribution": domains} | sizes | options)
    needed: dict[str, Any] = {} if cls.assumptions.passes.high == 1 else {"passes": 2}
    if "federated" in key:
        needed = {"clients": 4, "client_skew": 0.5, "rounds": 2, "local_passes": 1}
        options = without(options, "passes")
    if "labels_on_request" in cls.assumptions:  # held-out samples would have labels that the budget does not count
        needed = {"label_budget": 0.9}
        options = without(options, "validation")
    if key == "acquisition":  # its tasks are the slices
        bought = {"initial": [6 if options.get("validation") else 4], "budget": 24.0, "rounds": 2, "batch_size": 16}
        options = without(options, "stream", "transition", *cls.unused_options)
        return cls(**{"dataset": few_digits()} | needed | bought | options)
    return cls(**{"dataset": few_digits(), "nb_tasks": 3, "batch_size": 16} | needed | options)


def without(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """The options but for some."""
    return {name: value for name, value in options.items() if name not in names}


def run_here(setting: Any, method: Method, **options: Any) -> Results:
    """Run the protocol on this worker, whoever has started it."""
    defaults: dict[str, Any] = {"quiet": True, "accelerator": ACCELERATOR}
    return run_protocol(setting, method, Run(**defaults | options))


def train_pair(setting_key: str, method_key: str) -> Trained:
    """Run a pair; then load its state into a new method, which has to answer alike."""
    setting, options = small_setting(setting_key), OPTIONS.get(method_key, {})
    method, other = (get_method(method_key)(**options) for _ in range(2))
    results = run_here(setting, method)
    other.attach(Run(quiet=True, accelerator=ACCELERATOR))
    other.configure(setting.for_method())
    other.load_state_dict(method.state_dict())
    x = setting.dataset.source.x_test[:20]
    ids = torch.arange(20) % 3 if setting.assumptions.task_ids == 2 else None
    weights = list(method.network.parameters()) if isinstance(method, LightningMethod) else []
    answers = []
    for answering in (method, other):
        torch.manual_seed(0)
        answers.append(answering.predict(x, ids))
    return Trained(results, [weight.detach() for weight in weights], *answers)


def kind_of_stream(setting_key: str) -> tuple[object, ...]:
    """What the settings have in common that serve their samples by the same code."""
    setting: Any = get_setting(setting_key)
    return setting.open_stream.__qualname__, getattr(setting, "stream_type", None)


def once(pairs: list[tuple[str, str]], usual: str) -> list[ParameterSet]:
    """Pairs of a setting and a method as parameters of a test, of which most are `slow`.

    The others are each method once, on the usual setting where it can be, and each setting once.
    """
    first = {method: setting for setting, method in reversed(pairs)}
    first |= {method: setting for setting, method in pairs if setting == usual}
    chosen = {(setting, method) for method, setting in first.items()}
    chosen |= set({setting: (setting, method) for setting, method in pairs}.values())
    return [
        pytest.param(*pair, id="-".join(pair), marks=[] if pair in chosen else [pytest.mark.slow]) for pair in pairs
    ]


def comparable(results: Results) -> dict[str, Any]:
    """All of the results but what a clock or the operating system measured, and the digests of a run with a folder."""
    content = results.to_dict()
    content.pop("reproduction", None)
    content["cost"] = {name: value for name, value in content["cost"].items() if name not in MEASURED}
    return content


class NormalisedNetwork(nn.Sequential):
    """Behaves otherwise in training than at test: batch normalisation, dropout."""

    def __init__(self, n_inputs: int = 64, n_outputs: int = 10) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(n_inputs, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(32, n_outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        for layer in self:
            x = layer(x)
        return x
