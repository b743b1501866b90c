"""An interrupted run goes on to the results that it would have had."""

from dataclasses import dataclass

import pytest
import torch
from pytorch_lightning import Callback

from redwood.methods.ewc import EWC
from redwood.methods.finetune import Finetune
from redwood.methods.joint import Joint
from redwood.methods.rehearsal import Rehearsal
from redwood.settings.errors import RedwoodError
from tests.runs import NormalisedNetwork, comparable, run_here, small_setting


class PowerCut(BaseException):
    """The process ends here."""


class CutAt(Callback):
    """Ends the process before a step of a phase."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            raise PowerCut


class Interruptible:
    """Mixed into a method: cut off in a phase, before a step or (-1) after the last one."""

    cut = None

    def callbacks(self):
        inside = self.cut and self.cut[0] == self.phase.index
        return [*super().callbacks(), *([CutAt(self.cut[1])] if inside else [])]

    def fit(self, phase):
        super().fit(phase)
        if self.cut == (phase.index, -1):
            raise PowerCut


@dataclass
class CutFinetune(Interruptible, Finetune):
    pass


@dataclass
class CutRehearsal(Interruptible, Rehearsal):
    pass


@dataclass
class CutEWC(Interruptible, EWC):
    pass


@dataclass
class CutJoint(Interruptible, Joint):
    pass


def weights(method):
    return [*method.network.parameters(), *method.network.buffers()]


def run_whole(key, make, folder=None, **setting_options):
    """Results and weights of a run that nothing cuts off."""
    method = make()
    options = {"checkpoint_every": 3, "run_dir": None if folder is None else str(folder)}
    return run_here(small_setting(key, **setting_options), method, **options), weights(method)


def run_and_resume(folder, key, make, cut, **setting_options):
    """Results and weights of a run that was cut off and gone on with by a new process."""
    options = {"run_dir": str(folder), "checkpoint_every": 3}
    interrupted = make()
    interrupted.cut = cut
    with pytest.raises(PowerCut):
        run_here(small_setting(key, **setting_options), interrupted, **options)
    resumed = make()
    torch.manual_seed(99)  # another process
    return run_here(small_setting(key, **setting_options), resumed, **options, resume=True), weights(resumed)


def assert_alike(resumed, whole):
    assert comparable(resumed[0]) == comparable(whole[0])
    assert resumed[0].untrained_accuracy == whole[0].untrained_accuracy
    assert all(map(torch.equal, resumed[1], whole[1]))


def cut_dropout():
    torch.manual_seed(0)
    return CutFinetune(model=NormalisedNetwork())


CASES = {
    "rehearsal": ("class_incremental", lambda: CutRehearsal(momentum=0.5, optimizer_state="keep"), {"passes": 3}),
    "ewc": ("task_incremental", lambda: CutEWC(lr_schedule="cosine"), {"passes": 3}),
    "joint": ("cumulative", lambda: CutJoint(optimizer="adam", lr=0.001), {}),
    "ordered stream": ("continual", lambda: CutRehearsal(lr_schedule="cosine"), {"passes": 3}),
    "online": ("online_class_incremental", CutRehearsal, {"batch_size": 5}),
    "dropout": ("class_incremental", cut_dropout, {"validation": 0.2, "passes": 3}),
}
# (phase, step); at step 5 the checkpoint of step 3 is gone back to, so that two steps are taken again.
CUTS = [(0, 1), (1, 5), (1, 6), (1, -1)]
CUTS_OF_ONE_PHASE = [(0, 1), (0, 5), (0, 6), (0, -1)]


@pytest.fixture(scope="module")
def wholes():
    return {case: run_whole(key, make, **options) for case, (key, make, options) in CASES.items()}


@pytest.mark.parametrize("number", range(len(CUTS)))
@pytest.mark.parametrize("case", CASES)
def test_results_and_weights_are_those_of_an_uninterrupted_run(tmp_path, wholes, case, number):
    key, make, options = CASES[case]
    cut = (CUTS_OF_ONE_PHASE if key == "continual" else CUTS)[number]
    assert_alike(run_and_resume(tmp_path, key, make, cut, **options), wholes[case])


class TestFolder:
    def test_a_run_cut_off_before_its_first_phase(self, tmp_path):
        whole = run_here(small_setting("traditional"), Finetune())
        (tmp_path / "checkpoints").mkdir()
        resumed = run_here(small_setting("traditional"), Finetune(), run_dir=str(tmp_path), resume=True)
        assert comparable(resumed) == comparable(whole)

    def test_metrics_hold_each_row_once(self, tmp_path):
        options = {"passes": 20, "batch_size": 8}
        run_whole("class_incremental", CutFinetune, tmp_path / "whole", **options)
        run_and_resume(tmp_path / "resumed", "class_incremental", CutFinetune, (1, 61), **options)
        whole, resumed = ((tmp_path / name / "metrics.csv").read_text() for name in ("whole", "resumed"))
        assert resumed == whole

    def test_a_run_of_another_format(self, tmp_path):
        run_and_resume(tmp_path, "class_incremental", CutFinetune, (1, 0))
        path = tmp_path / "checkpoints" / "boundary.pt"
        torch.save(torch.load(path, weights_only=True) | {"format": 0}, path)
        with pytest.raises(RedwoodError, match="saved by another version of redwood; start it anew"):
            run_here(small_setting("class_incremental"), Finetune(), run_dir=str(tmp_path), resume=True)


TOGETHER = {"workers": 2, "batch_size": 8}


def cut_together(folder):
    """A run of two workers that both end at the same step."""
    results, trained = run_and_resume(folder, "class_incremental", CutRehearsal, (1, 5), **TOGETHER)
    return comparable(results), [weight.detach() for weight in trained]


def run_together():
    results, trained = run_whole("class_incremental", CutRehearsal, **TOGETHER)
    return comparable(results), [weight.detach() for weight in trained]


def test_two_workers(two_workers, tmp_path):
    resumed, whole = two_workers.run(cut_together, tmp_path / "run"), two_workers.run(run_together)
    for mine, expected in zip(resumed, whole, strict=True):
        assert mine[0] == expected[0]
        assert all(map(torch.equal, mine[1], expected[1]))
