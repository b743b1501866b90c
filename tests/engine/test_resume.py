"""A run that is killed at any moment and resumed ends as if nothing had happened.

Each file that a run writes is copied before and after it is written. Such a copy of the run directory is what a kill at
that moment would have left behind; each is resumed, and everything is compared bit for bit.
"""

import csv
import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from redwood.branches.acquisition.slice_tuner import SliceTuner
from redwood.branches.background.method import Background
from redwood.branches.federated.fedavg import FedAvg
from redwood.branches.federated.fedssi import FedSSI
from redwood.branches.generative.generative_rehearsal import GenerativeRehearsal
from redwood.branches.growing.c_ada import CAda
from redwood.branches.growing.reuse_outputs import ReuseOutputs
from redwood.branches.growing.widen import Widen
from redwood.branches.label_budget.semi_supervised import SemiSupervised
from redwood.branches.modular.finetune_from import FinetuneFrom
from redwood.branches.modular.hard_moe import HardMoE
from redwood.branches.modular.mntdp import MNTDP
from redwood.branches.osaka.continual_maml import ContinualMAML
from redwood.branches.osaka.maml import MAML
from redwood.branches.streaming.just_in_time import JustInTime
from redwood.branches.streaming.moving_window import MovingWindow
from redwood.branches.streaming.ncm import NCM
from redwood.branches.streaming.ranpac import RanPAC
from redwood.branches.streaming.slda import SLDA
from redwood.branches.target_propagation.dtp import DTP
from redwood.buffers.strategy.checkpoints import BufferCheckpoints
from redwood.core.errors import RedwoodError
from redwood.engine import loop
from redwood.engine.folder import RunFolder
from redwood.engine.folder_lock import LOCK_FILE
from redwood.engine.run import Run
from redwood.methods.architecture.hat import HAT
from redwood.methods.architecture.packnet import PackNet
from redwood.methods.architecture.pnn import PNN
from redwood.methods.base import Method
from redwood.methods.baselines import Finetune, Joint, Random
from redwood.methods.composition import compose
from redwood.methods.distillation.bic import BiC
from redwood.methods.distillation.icarl import Hybrid1, ICaRL
from redwood.methods.distillation.lwf import LwF
from redwood.methods.distillation.lwf_mc import LwFMC
from redwood.methods.distillation.two_side import TwoSide
from redwood.methods.regularisation.ewc import EWC
from redwood.methods.regularisation.si import SI
from redwood.methods.replay.agem import AGEM
from redwood.methods.replay.async_rehearsal import AsyncRehearsal
from redwood.methods.replay.der import DER, DERpp
from redwood.methods.replay.gdumb import GDumb
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training import callbacks
from redwood.methods.training.optimizers import Sgd
from redwood.methods.training.recipe import ClipNorm, ClipValue
from redwood.methods.training.schedules import Milestones, WarmupCosine
from redwood.settings import AllTasks
from redwood.settings.scores.results import Results
from tests.cli.command import content
from tests.label_sets import few_label_sets
from tests.samples import few_digits
from tests.small_runs import NormalisedNetwork, comparable, run_here, small_setting

DATA = few_digits(n_train=64, n_test=60)


@dataclass
class Counting(Method):
    """Keeps a state of its own without Lightning: how often it has seen each class."""

    def configure(self, setting):
        self.seen = torch.zeros(int(setting.action_space.n), dtype=torch.long)

    def fit(self, phase):
        for _ in range(phase.train.epochs):
            for batch in phase.train:
                phase.score(self.predict(batch.x, None), batch)
                self.seen += torch.bincount(batch.y, minlength=len(self.seen))

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        return self.seen.argmax().expand(len(x))

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"].clone()


def normalised(method, **options):
    """A method whose network has dropout and batch normalisation."""
    torch.manual_seed(3)
    return method(model=NormalisedNetwork(), **options)


IN_OSAKA = {"pretraining": 3, "shots": 2, "query_shots": 2, "timesteps": 6}
# setting, its options, method
CLIENTS = {"clients": 3, "rounds": 2, "local_passes": 1, "participation": 0.67}
CASES = {
    "rehearsal": ("class_incremental", {"passes": 3}, partial(Rehearsal, buffer_size=20, replay_ratio=0.6)),
    "ewc": ("class_incremental", {}, partial(EWC, fisher_samples=10, ewc_lambda=10.0)),
    "si": ("class_incremental", {}, partial(SI, optimizer=Sgd(momentum=0.9))),
    "momentum and cosine, kept": (
        "class_incremental",
        {},
        partial(Finetune, optimizer=Sgd(momentum=0.9, weight_decay=0.01), lr_schedule="cosine", optimizer_state="keep"),
    ),
    "momentum and cosine, reset": (
        "class_incremental",
        {},
        partial(Finetune, optimizer=Sgd(momentum=0.9), lr_schedule="cosine"),
    ),
    "adam, kept": ("domain_incremental", {}, partial(Finetune, optimizer="adam", optimizer_state="keep", lr=0.01)),
    "recipe": (
        "class_incremental",
        {},
        partial(
            Rehearsal,
            buffer_size=20,
            optimizer={"nadam": {"betas": (0.8, 0.9)}},
            lr=0.01,
            lr_schedule=WarmupCosine(0.5),
            clipping=ClipNorm(0.5),
            augmentation="RandomCrop(8,padding=1)+ColorJitter(0.4)",
        ),
    ),
    "accumulated": (
        "class_incremental",
        {},
        partial(
            DERpp,
            buffer_size=20,
            optimizer=Sgd(momentum=0.9),
            accumulate_grad_batches=2,
            lr_schedule=Milestones([1]),
            clipping=ClipValue(0.1),
            optimizer_state="keep",
        ),
    ),
    "accumulated, async": (
        "continual",
        {"batch_size": 8, "passes": 1},
        partial(AsyncRehearsal, buffer_size=20, accumulate_grad_batches=3),
    ),
    "early end": (
        "class_incremental",
        {"validation": 0.3, "passes": 9},
        partial(normalised, Rehearsal, buffer_size=20, lr=0.2, patience=1),
    ),
    "early end, accumulated": (
        "task_incremental",
        {"validation": 0.3, "passes": 6, "batch_size": 8},
        partial(normalised, EWC, fisher_samples=10, patience=2, accumulate_grad_batches=3, optimizer=Sgd(momentum=0.9)),
    ),
    "dropout": ("class_incremental", {}, partial(normalised, Rehearsal, buffer_size=20)),
    "validation": ("class_incremental", {"validation": 0.3}, Finetune),
    "learning curves": ("task_incremental", {"eval_tasks": AllTasks(lca=3)}, Finetune),
    "drift": ("continual", {}, partial(Rehearsal, buffer_size=20, replay_ratio=0.6)),
    "osaka": ("osaka", IN_OSAKA, partial(Finetune, optimizer="adam", lr=0.01)),
    "maml": ("osaka", IN_OSAKA, MAML),
    "continual_maml": ("osaka", IN_OSAKA, partial(ContinualMAML, prolonged_batches=2, boundary_threshold=0.1)),
    "continual_maml, adapted anew": ("osaka", IN_OSAKA, partial(ContinualMAML, prolonged_batches=0, lr=0.01)),
    "unannounced": ("task_agnostic", {}, Finetune),
    "der_pp": ("class_incremental", {}, partial(DERpp, buffer_size=20, augmentation="crop_flip")),
    "async_rehearsal": ("class_incremental", {"batch_size": 32}, partial(AsyncRehearsal, buffer_size=20)),
    "der_pp, async": ("continual", {"batch_size": 32}, partial(DERpp, buffer_size=20, asynchronous=True)),
    "agem": ("class_incremental", {}, partial(AGEM, buffer_size=20)),
    "generative_rehearsal": (
        "class_incremental",
        {},
        partial(GenerativeRehearsal, generated_ratio=0.5, latent=4, generator_width=8),
    ),
    "gdumb": ("class_incremental", {}, partial(GDumb, buffer_size=25, memory_passes=3)),
    "lwf": ("task_incremental", {}, partial(LwF, divergence="js")),
    "lwf_mc": ("class_incremental", {}, LwFMC),
    "hybrid1": ("class_incremental", {}, partial(Hybrid1, buffer_size=20)),
    "two_side": ("class_incremental", {}, TwoSide),
    "bic": ("class_incremental", {}, partial(BiC, buffer_size=20, bias_samples=8)),
    "dtp": ("class_incremental", {}, partial(DTP, feedback_steps=2)),
    "icarl, herding": ("class_incremental", {}, partial(ICaRL, buffer_size=20, herding_candidates=30)),
    "fedavg": ("federated_class_incremental", CLIENTS, partial(FedAvg, optimizer=Sgd(momentum=0.9))),
    "fedssi": ("federated_class_incremental", CLIENTS, FedSSI),
    "ring, on disk": (
        "class_incremental",
        {},
        partial(Rehearsal, buffer_size=20, buffer_policy="ring", buffer_sampler="class_balanced", buffer_tier="mmap"),
    ),
    "greedy_balanced, mir": (
        "class_incremental",
        {},
        partial(Rehearsal, buffer_size=20, buffer_policy="greedy_balanced", buffer_sampler="mir"),
    ),
    "per_class_random": (
        "class_incremental",
        {},
        partial(DER, buffer_size=20, buffer_policy={"per_class_random": {"quota": 2}}),
    ),
    "background": (
        "class_incremental",
        {},
        partial(compose(Background, Rehearsal), background="prototypes", buffer_size=20),
    ),
    "labels on request": (
        "label_budget",
        {"passes": 1, "label_budget": 0.3, "batch_size": 4, "label_delay": 3, "query_rule": "margin"},
        partial(
            normalised,
            compose(SemiSupervised, Rehearsal),
            buffer_size=20,
            pseudo_labels=0.2,
            consistency=1.0,
            dropout=0.1,
        ),
    ),
    "ncm": (
        "label_budget",
        {"passes": 1, "label_budget": 0.3, "batch_size": 4, "label_delay": 3, "query_rule": "margin"},
        NCM,
    ),
    "late labels": (
        "online_class_incremental",
        {"passes": 1, "batch_size": 8, "label_delay": 2},
        partial(normalised, Rehearsal, buffer_size=20),
    ),
    "packnet": ("task_incremental", {}, partial(PackNet, optimizer=Sgd(momentum=0.9), optimizer_state="keep")),
    "packnet, normalisation": ("task_incremental", {"passes": 1}, partial(normalised, PackNet, prune_share=0.5)),
    "hat": ("task_incremental", {}, partial(HAT, optimizer="adam", lr=0.01)),
    "pnn": ("task_incremental", {"passes": 1}, partial(PNN, optimizer=Sgd(momentum=0.9), optimizer_state="keep")),
    "c_ada": ("class_incremental", {}, partial(normalised, CAda, optimizer=Sgd(momentum=0.9))),
    "c_ada, pretrained": ("task_incremental", {"passes": 1}, partial(normalised, CAda, extractor_tasks=0)),
    "reuse_outputs": (
        "class_incremental",
        {},
        partial(ReuseOutputs, optimizer=Sgd(momentum=0.9), optimizer_state="keep"),
    ),
    "from scratch": ("cumulative", {}, Joint),
    "hard_moe": (
        "task_incremental",
        {"passes": 1},
        partial(
            HardMoE,
            experts=2,
            expert_models=["mlp", "simple_cnn"],
            splits=1,
            split_below=1.0,
            min_load=0.3,
            gate_samples=20,
            backbone="trained",
        ),
    ),
    "finetune_from": ("task_incremental", {}, partial(FinetuneFrom, source="all", tries=2, tune_tasks=1)),
    "mntdp": ("task_incremental", {"validation": 0.3}, partial(MNTDP, margin=0.5, confidence=0.0, dropout=0.1)),
    "slice_tuner": (
        "acquisition",
        {"nb_tasks": None, "initial": [3], "budget": 10.0, "rounds": 1, "passes": 2},
        partial(SliceTuner, subsets=3, repeats=1, curve_held_out=0.4, dropout=0.1),
    ),
    "slda": ("continual", {}, SLDA),
    "ranpac": ("cumulative", {}, partial(RanPAC, projection_dim=50)),
    "moving_window": ("class_incremental", {"passes": 1}, partial(MovingWindow, window=30, refit_every=2)),
    "just_in_time": ("task_incremental", {}, partial(JustInTime, neighbours=8, buffer_policy="partitioning")),
    "widen, kept": (
        "class_incremental",
        {},
        partial(Widen, widen_units=5, widen_mode="net2wider", optimizer="adam", lr=0.001, optimizer_state="keep"),
    ),
    "widen, event": (
        "task_agnostic",
        {"batch_size": 8},
        partial(
            Widen,
            widen_units=5,
            widen_mode="near_zero",
            widen_protect=0.1,
            widen_window=2,
            widen_patience=1,
            optimizer=Sgd(momentum=0.9),
        ),
    ),
    "label sets": (
        "task_incremental",
        {"dataset": few_label_sets(), "nb_tasks": None},
        partial(compose(EWC, Rehearsal), buffer_size=20, buffer_policy="partitioning", fisher_samples=10),
    ),
    "no network": ("class_incremental", {}, Counting),
    "no state": ("class_incremental", {}, Random),
}

# A kind of state each: a buffer, importances, an optimizer's, a draw in flight, exemplars, candidates side by side.
EVERYWHERE = ("rehearsal", "ewc", "adam, kept", "async_rehearsal", "icarl, herding", "mntdp")
ELSEWHERE = [case for case in CASES if case not in EVERYWHERE]


def start(case: str, folder: Path, **options) -> Results:
    key, setting_options, method = CASES[case]
    usual = {"dataset": DATA, "nb_tasks": 2, "batch_size": 16, "passes": 2}
    setting = small_setting(key, **usual | setting_options)
    return run_here(setting, method(), run_dir=str(folder), **options)


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Runs without pictures, and with losses in the logs of runs as short as these."""
    patch.setattr("redwood.engine.figures.plots.draw_run", lambda results, folder: None)
    patch.setattr(callbacks, "LOG_EVERY", 2)
    save = BufferCheckpoints.save

    def save_and_wait(self, *args):
        save(self, *args)
        self.wait()

    # A folder can be copied as it was at one moment only while nobody writes to it.
    patch.setattr(BufferCheckpoints, "save", save_and_wait)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    hurry(monkeypatch)


class Moments:
    """Copies of a run directory, one for each moment at which it changed.

    Attributes:
        folders: The copies, in the order of time.
    """

    def __init__(self, folder: Path, copies: Path, every: bool) -> None:
        """Copy `folder` into `copies`: at `every` write, or only when there is another checkpoint."""
        self._folder, self._copies, self._every = folder, copies, every
        self._last: dict[str, bytes | None] = {}
        self.folders: list[Path] = []

    def keep(self) -> None:
        now = content(self._folder)
        if not self._every:
            now = {name: data for name, data in now.items() if name.endswith((".yaml", ".ckpt", ".pt", ".json"))}
        if "config.yaml" in now and "results.json" not in now and now != self._last:
            self._last = now
            self.folders.append(self._copies / str(len(self.folders)))
            shutil.copytree(self._folder, self.folders[-1])

    def around(self, function):
        def wrapped(*args, **kwargs):
            self.keep()
            result = function(*args, **kwargs)
            self.keep()
            return result

        return wrapped


def moments_of(
    case: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, every: bool = False, **options
) -> tuple[Results, list[Path]]:
    """Run a case to its end; its results, and what was on the disk whenever something was written."""
    moments = Moments(folder / "run", folder / "moments", every)
    with monkeypatch.context() as patch:
        for owner, name in (
            (RunFolder, "create"),
            (Run, "save_logs"),
            (RunFolder, "save"),
            (loop, "_write_results"),
            (callbacks.CheckpointInsidePhase, "_save_checkpoint"),
            (callbacks.ModelCheckpoint, "_save_checkpoint"),
            *([(os, "replace")] if every else []),  # before a written file takes its place, and after
        ):
            patch.setattr(owner, name, moments.around(getattr(owner, name)))
        results = start(case, folder / "run", **options)
    return results, moments.folders


def assert_same(folder: Path, expected: Results, expected_folder: Path) -> None:
    results = Results.load(folder / "results.json")
    assert comparable(results) == comparable(Results.load(expected_folder / "results.json"))
    assert results.metrics == expected.metrics
    assert logged(folder) == logged(expected_folder)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["boundary.pt"]


@pytest.mark.parametrize("case", [*EVERYWHERE, *(pytest.param(case, marks=pytest.mark.slow) for case in ELSEWHERE)])
def test_killed_after_any_step(case, tmp_path, monkeypatch):
    """The last step of an epoch and of a phase included, and between phases."""
    expected, folders = moments_of(case, tmp_path, monkeypatch, checkpoint_every=1)
    num_phases, n_steps = len(expected.accuracy_matrix), int(rows_of(tmp_path / "run")[-1]["step"])
    stateless = case in ("no network", "no state", "moving_window", "just_in_time", "ncm", "slda", "ranpac")
    assert len(folders) >= num_phases + 1 + (0 if stateless else n_steps)
    for folder in folders:
        start(case, folder, checkpoint_every=1, resume=True)
        assert_same(folder, expected, tmp_path / "run")


@pytest.mark.parametrize("case", ELSEWHERE)
@pytest.mark.few(20)
def test_killed_inside_a_phase_between_two_and_at_the_end(case, tmp_path, monkeypatch):
    expected, folders = moments_of(case, tmp_path, monkeypatch, checkpoint_every=2)
    inside = [folder for folder in folders if any((folder / "checkpoints").glob("inside-phase-*.ckpt"))]
    between = [folder for folder in folders if folder not in inside]
    for folder in {*inside[len(inside) // 2 :][:1], between[len(between) // 2], folders[-1]}:
        start(case, folder, checkpoint_every=2, resume=True)
        assert_same(folder, expected, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("case", ["rehearsal", "ewc"])
def test_killed_between_any_two_writes(case, tmp_path, monkeypatch):
    """Logs and checkpoints are several files: whichever was written last, no row is lost and none is there twice."""
    expected, folders = moments_of(case, tmp_path, monkeypatch, every=True, checkpoint_every=2)
    assert any(list((folder / "checkpoints").glob(".inside-phase-000.ckpt.*.tmp")) for folder in folders)
    for folder in folders:
        start(case, folder, checkpoint_every=2, resume=True)
        assert_same(folder, expected, tmp_path / "run")


@pytest.mark.parametrize("every", [0, 2, 4])
@pytest.mark.few(1)
def test_killed_some_steps_after_a_checkpoint(every, tmp_path, monkeypatch):
    """Steps after the last checkpoint, and their rows in the logs, are done again."""
    expected = start("rehearsal", tmp_path / "run", checkpoint_every=every)
    n_steps = int(rows_of(tmp_path / "run")[-1]["step"])
    for stop in range(1, n_steps + 1, 2):
        folder = tmp_path / str(stop)
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(Rehearsal, "augment", stopping(Rehearsal.augment, stop))
            start("rehearsal", folder, checkpoint_every=every)
        assert not (folder / "results.json").exists()
        start("rehearsal", folder, checkpoint_every=every, resume=True)
        assert_same(folder, expected, tmp_path / "run")


@pytest.mark.slow
def test_killed_again_and_again(tmp_path, monkeypatch):
    """Each attempt gets some steps further."""
    expected = start("momentum and cosine, kept", tmp_path / "run", checkpoint_every=2)
    folder, attempts = tmp_path / "killed", 0
    while not (folder / "results.json").exists():
        attempts += 1
        assert attempts < 20
        with monkeypatch.context() as patch:
            patch.setattr(Finetune, "augment", stopping(Finetune.augment, 4))
            try:
                start("momentum and cosine, kept", folder, checkpoint_every=2, resume=attempts > 1)
            except Stopped:
                continue
    assert attempts > 3
    assert_same(folder, expected, tmp_path / "run")


class Stopped(Exception):
    """Stands in for whatever stops a run."""


def stopping(augment, at: int):
    """`augment`, but its call number `at` stops the run."""
    calls = 0

    def stop(self, step):
        nonlocal calls
        calls += 1
        if calls == at:
            raise Stopped
        augment(self, step)

    return stop


def test_stopped_in_an_evaluation_or_a_hook(tmp_path, monkeypatch):
    """Between two phases, where no checkpoint inside a phase helps."""
    expected = start("ewc", tmp_path / "run")
    for hook in ("on_task_start", "on_task_end", "predict", "on_finish"):
        folder = tmp_path / hook
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(EWC, hook, lambda self, *args: (_ for _ in ()).throw(Stopped))
            start("ewc", folder)
        start("ewc", folder, resume=True)
        assert_same(folder, expected, tmp_path / "run")


def test_time_before_the_interruption_counts(tmp_path, monkeypatch):
    """All samples of the run are in its speed, so all of its time has to be, too."""
    moment = iter(range(10**9))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(moment)))  # a clock that ticks when it is looked at
    expected, folders = moments_of("rehearsal", tmp_path, monkeypatch, checkpoint_every=1)
    late = [folder for folder in folders if (folder / "checkpoints" / "inside-phase-001.ckpt").exists()][-1]
    resumed = start("rehearsal", late, checkpoint_every=1, resume=True)
    for results in (expected, resumed):
        seconds = results.cost.training_samples / results.cost.samples_per_s
        assert 0 < seconds < results.cost.wall_time_s
    assert resumed.cost.wall_time_s == pytest.approx(expected.cost.wall_time_s, rel=0.2)
    assert resumed.cost.samples_per_s == pytest.approx(expected.cost.samples_per_s, rel=0.5)


def test_nothing_is_trained_twice(tmp_path, monkeypatch):
    """A run that is resumed after its first phase reads no batch of it; one that has trained all reads none."""
    expected, folders = moments_of("rehearsal", tmp_path, monkeypatch, checkpoint_every=0)
    phases = [row for row in rows_of(tmp_path / "run") if row["phase"]]
    served = []
    monkeypatch.setattr(Rehearsal, "augment", recording(Rehearsal.augment, served))
    for done, steps in ((1, int(phases[1]["step"]) - int(phases[0]["step"])), (2, 0)):
        folder = next(folder for folder in folders if phases_done(folder) == done)
        served.clear()
        start("rehearsal", folder, checkpoint_every=0, resume=True)
        assert len(served) == steps
        assert_same(folder, expected, tmp_path / "run")


def logged(folder: Path) -> list[dict[str, str]]:
    """What was logged, but for measured times."""
    rows = [
        {name: value for name, value in row.items() if not name.startswith("rehearsal/")} for row in rows_of(folder)
    ]
    return [row for row in rows if any(value for name, value in row.items() if name != "step")]


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def phases_done(folder: Path) -> int:
    path = folder / "checkpoints" / "boundary.pt"
    return torch.load(path)["next_phase"] if path.exists() else 0


def recording(augment, served):
    def record(self, step):
        served.append(step.n_incoming)
        augment(self, step)

    return record


class TestDamage:
    """One sentence, and the folder stays as it was."""

    @pytest.fixture(scope="class")
    @classmethod
    def inside(cls, tmp_path_factory):
        with pytest.MonkeyPatch.context() as patch:
            hurry(patch)
            folder = tmp_path_factory.mktemp("damage")
            _, folders = moments_of("rehearsal", folder, patch, checkpoint_every=1)
        return next(f for f in folders if (f / "checkpoints" / "inside-phase-001.ckpt").exists())

    @pytest.mark.parametrize("name", ["boundary.pt", "inside-phase-001.ckpt"])
    @pytest.mark.parametrize("damage", ["empty", "cut short", "flipped bit", "text"])
    def test_checkpoint(self, inside, name, damage, tmp_path):
        folder = tmp_path / "run"
        shutil.copytree(inside, folder, ignore=shutil.ignore_patterns(LOCK_FILE))  # which a dead process holds no more
        path = folder / "checkpoints" / name
        whole = path.read_bytes()
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :]
        damaged = {"empty": b"", "cut short": whole[:middle], "flipped bit": flipped, "text": b"no checkpoint"}
        path.write_bytes(damaged[damage])
        before = content(folder)
        with pytest.raises(RedwoodError, match=rf"checkpoint .*{name} is damaged .*; (start|remove)"):
            start("rehearsal", folder, resume=True)
        assert content(folder) == before

    def test_the_remedy_for_one_inside_a_phase(self, inside, tmp_path):
        """Without it, the run goes on from the start of the phase."""
        expected = start("rehearsal", tmp_path / "whole")
        folder = tmp_path / "run"
        shutil.copytree(inside, folder)
        (folder / "checkpoints" / "inside-phase-001.ckpt").unlink()
        start("rehearsal", folder, resume=True)
        assert_same(folder, expected, tmp_path / "whole")

    def test_another_version(self, inside, tmp_path):
        folder = tmp_path / "run"
        shutil.copytree(inside, folder)
        path = folder / "checkpoints" / "boundary.pt"
        torch.save(torch.load(path) | {"format": 0}, path)
        with pytest.raises(RedwoodError, match="another version of redwood"):
            start("rehearsal", folder, resume=True)
