"""Two workers that end at the same step go on to the results, weights and buffers that they would have had."""

from dataclasses import dataclass

import pytest
import torch

from redwood.methods.distillation.icarl import ICaRL
from redwood.methods.replay.agem import AGEM
from redwood.methods.replay.async_rehearsal import AsyncRehearsal
from redwood.methods.replay.gdumb import GDumb
from redwood.methods.replay.rehearsal import Rehearsal
from tests.power_cut import CutAt, PowerCut
from tests.small_runs import comparable, run_here, small_setting


class Cut:
    """Ends the process before a step of the second phase."""

    cut = None

    def callbacks(self):
        cut = [CutAt(self.cut)] if self.cut is not None and self.phase.index == 1 else []
        return [*super().callbacks(), *cut]


@dataclass
class CutRehearsal(Cut, Rehearsal):
    buffer_size: int = 31  # samples that the buffer holds, over all workers


@dataclass
class CutAccumulation(CutRehearsal):
    accumulate_grad_batches: int = 2  # batches whose mean gradient makes one step of the optimizer


@dataclass
class CutEarlyEnd(CutRehearsal):
    """Its phases end before their 6 passes are over."""

    patience: int = 1  # end a phase after so many passes
    lr: float = 0.2  # learning rate


@dataclass
class CutAsyncRehearsal(Cut, AsyncRehearsal):
    buffer_size: int = 31  # samples that the buffer holds, over all workers


@dataclass
class CutAGEM(Cut, AGEM):
    buffer_size: int = 31  # samples that the buffer holds, over all workers


@dataclass
class CutGDumb(Cut, GDumb):
    buffer_size: int = 31  # samples that the buffer holds, over all workers
    memory_passes: int = 4  # passes over the stored samples


@dataclass
class CutICaRL(Cut, ICaRL):
    buffer_size: int = 31  # samples that the buffer holds, over all workers
    herding_candidates: int = 30  # samples of a task, per worker, among which exemplars are chosen at its end


def run(method, **options):
    """What the run gives on this worker."""
    watched = {"validation": 0.3, "passes": 6} if method.patience else {}
    setting = small_setting("class_incremental", workers=2, batch_size=8, **watched)
    results = run_here(setting, method, checkpoint_every=3, **options)
    rows = method.buffer.state_dict()["rows"]
    return comparable(results), [p.detach() for p in method.network.parameters()], [rows["x"], rows["y"]]


def run_and_resume(kind, folder, step):
    method = kind()
    method.cut = step
    with pytest.raises(PowerCut):
        run(method, run_dir=str(folder))
    torch.manual_seed(99)  # another process
    return run(kind(), run_dir=str(folder), resume=True)


def run_whole(kind):
    return run(kind())


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        (CutRehearsal, 1),
        (CutRehearsal, 5),
        (CutAccumulation, 3),
        (CutEarlyEnd, 4),
        (CutAsyncRehearsal, 4),
        (CutAGEM, 4),
        (CutGDumb, 4),
        (CutICaRL, 4),
    ],
)
@pytest.mark.few(1)
def test_each_worker_goes_on_with_its_own_shard_and_buffer(two_workers, tmp_path, kind, step):
    resumed = two_workers.run(run_and_resume, kind, tmp_path / "run", step)
    whole = two_workers.run(run_whole, kind)
    for mine, expected in zip(resumed, whole, strict=True):
        assert mine[0] == expected[0]
        assert all(map(torch.equal, mine[1] + mine[2], expected[1] + expected[2]))
    assert not torch.equal(whole[0][2][0], whole[1][2][0])
