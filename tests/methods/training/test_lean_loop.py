"""The lean loop trains to the same bits as Lightning's own, and is used only where it can."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback

from redwood.core.errors import RedwoodError
from redwood.methods.baselines import Finetune
from redwood.methods.regularisation.ewc import EWC
from redwood.methods.regularisation.si import SI
from redwood.methods.replay.agem import AGEM
from redwood.methods.replay.der import DER
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training import lean_loop
from redwood.methods.training.lean_loop import LeanEpochLoop
from redwood.methods.training.optimizers import Sgd
from redwood.methods.training.recipe import ClipNorm, ClipValue
from redwood.methods.training.schedules import DecayingRate
from tests.samples import few_digits
from tests.small_runs import NormalisedNetwork, comparable, run_here, small_setting

# Setting options, method.
CASES = {
    "finetune": ({}, Finetune),
    "rehearsal": ({"passes": 3}, partial(Rehearsal, buffer_size=20, optimizer=Sgd(momentum=0.9))),
    "ewc": ({}, partial(EWC, fisher_samples=10, ewc_lambda=10.0)),
    "si": ({}, SI),
    "der": ({}, partial(DER, buffer_size=20)),
    "agem": ({}, partial(AGEM, buffer_size=20)),
    "clipping by norm": ({}, partial(Rehearsal, buffer_size=20, clipping=ClipNorm(0.1), lr=0.5)),
    "clipping by value": ({}, partial(Finetune, clipping=ClipValue(0.001), lr=0.5)),
    "schedule, kept": ({}, partial(Finetune, optimizer="adam", lr_schedule="cosine", optimizer_state="keep")),
    "constant, kept": ({}, partial(Finetune, optimizer="adam", regime=DecayingRate(0.5), optimizer_state="keep")),
    "early end": ({"passes": 4, "validation": 0.25}, partial(Finetune, patience=1, lr=0.5)),
    "dropout and batch normalisation": ({}, lambda: Finetune(model=normalised())),
}


def normalised():
    torch.manual_seed(3)
    return NormalisedNetwork()


def trained(method, lean, **options):
    method.lean_loop = lean
    results = run_here(small_setting("class_incremental", **options), method)
    return without_options(results), [*method.network.state_dict().values()]


def without_options(results):
    """What was measured, without the options of the run."""
    return {name: value for name, value in comparable(results).items() if name != "config"}


@pytest.fixture
def steps(monkeypatch):
    """The numbers of all batches that the lean loop trains itself."""
    found = []
    update = LeanEpochLoop._update
    monkeypatch.setattr(
        LeanEpochLoop, "_update", lambda loop, step, number: (found.append(number), update(loop, step, number))[1]
    )
    return found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.few(3)
def test_equal_to_lightning_bit_for_bit(case, steps):
    options, method = CASES[case]
    results, weights = trained(method(), True, **options)
    taken = len(steps)
    expected, expected_weights = trained(method(), False, **options)
    assert taken > 10
    assert len(steps) == taken  # `lean_loop = False` switches it off
    assert results == expected
    assert all(map(torch.equal, weights, expected_weights))


@dataclass
class Interrupted(Rehearsal):
    """Ends with an error at the batch of this number, if any."""

    buffer_size: int = 20  # samples that the buffer holds, over all workers
    lr_schedule: Any = "cosine"  # how the learning rate moves within a phase

    def __post_init__(self):
        super().__post_init__()
        self.end_at, self.n_batches = -1, 0

    def on_batch_start(self, batch_idx, n_batches):
        super().on_batch_start(batch_idx, n_batches)
        self.n_batches += 1
        if self.n_batches == self.end_at:
            raise RedwoodError("Interrupted.")


@pytest.mark.parametrize("loops", [(True, True), (True, False), (False, True)], ids=["lean", "lean first", "lean last"])
@pytest.mark.parametrize(("end_at", "validation"), [(3, 0.0), (9, 0.0), (5, 0.25)])
@pytest.mark.few(1)
def test_either_loop_resumes_a_run_inside_a_phase(loops, validation, end_at, tmp_path, steps):
    """The phase has three passes of four batches, or of three and a validation."""
    options = {"nb_tasks": 2, "dataset": few_digits(n_train=110), "passes": 3, "validation": validation}
    expected, weights = trained(Interrupted(), False, **options)
    setting, folder = small_setting("class_incremental", **options), str(tmp_path / "run")
    broken, resumed = Interrupted(), Interrupted()
    broken.end_at, broken.lean_loop, resumed.lean_loop = end_at, *loops
    with pytest.raises(RedwoodError, match="Interrupted"):
        run_here(setting, broken, run_dir=folder, checkpoint_every=2)
    results = run_here(setting, resumed, run_dir=folder, checkpoint_every=2, resume=True)
    assert without_options(results) == expected
    assert all(map(torch.equal, resumed.network.state_dict().values(), weights))
    assert steps
    assert resumed.n_batches < 3 * 8


class Foreign(Callback):
    """A callback that counts on a hook which the lean loop does not know."""

    def __init__(self):
        self.calls = 0

    def on_train_epoch_start(self, trainer, pl_module):
        self.calls += 1


@dataclass
class WithCallback(Finetune):
    """Fine-tuning with a callback of a user."""

    def callbacks(self):
        self.foreign = Foreign()
        return [self.foreign]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (WithCallback, {}),
        (partial(Finetune, accumulate_grad_batches=2), {}),
        (Finetune, {"precision": "bf16-mixed"}),
        (Finetune, {"precision": "64-true"}),
    ],
    ids=["foreign callback", "accumulation", "bf16", "64"],
)
def test_left_to_lightning(method, options, steps):
    run_here(small_setting("class_incremental"), method(), **options)
    assert not steps


@dataclass
class WithHook(Finetune):
    """Fine-tuning whose user sets a hook of Lightning on the module itself."""

    def configure(self, setting):
        super().configure(setting)
        self.calls = []
        self.module.on_after_backward = lambda: self.calls.append(1)


def test_a_hook_that_is_set_on_the_module_is_called(steps):
    method = WithHook()
    run_here(small_setting("class_incremental"), method)
    assert method.calls
    assert not steps


@dataclass
class ReplacesOptimizer(Finetune):
    """Fine-tuning that goes on with another optimizer from the second batch of each phase on."""

    def on_batch_end(self, step, loss, batch_idx):
        super().on_batch_end(step, loss, batch_idx)
        if batch_idx == 0:
            self.module.trainer.optimizers = [torch.optim.SGD(self.network.parameters(), lr=0.1)]


def test_an_optimizer_that_replaces_another_takes_the_steps():
    own, expected = (trained(ReplacesOptimizer(), lean)[1] for lean in (True, False))
    assert all(map(torch.equal, own, expected))


@dataclass
class LogsToLightning(Finetune):
    """Fine-tuning that logs where nothing reads it."""

    def on_batch_end(self, step, loss, batch_idx):
        self.module.log("loss", loss)


def test_logging_to_lightning_says_where_to_log():
    with pytest.raises(RedwoodError, match=r"self\.run\.log"):
        run_here(small_setting("class_incremental"), LogsToLightning())


@pytest.mark.parametrize("version", ["2.6.9", "2.7.0", "2.60.0"])
def test_only_versions_that_it_was_tested_with(version, steps, monkeypatch, recwarn):
    monkeypatch.setattr(lean_loop, "version", version)
    lean_loop._is_tested.cache_clear()
    run_here(small_setting("class_incremental"), Finetune())
    told = [str(warning.message) for warning in recwarn if "pytorch-lightning" in str(warning.message)]
    assert bool(steps) == (version == "2.6.9")
    assert len(told) == (version != "2.6.9"), "once, not in each phase"
    assert all(version in text and "2.6.x" in text for text in told)
