"""Two workers that end at the same step go on to the results, weights and buffers that they would have had."""

from dataclasses import dataclass

import pytest
import torch
from pytorch_lightning import Callback

from redwood.methods.rehearsal import Rehearsal
from tests.runs import comparable, run_here, small_setting


class PowerCut(BaseException):
    """The process ends here."""


class CutAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            raise PowerCut


@dataclass
class CutRehearsal(Rehearsal):
    """Ends the process before a step of the second phase."""

    buffer_size: int = 31
    cut = None

    def callbacks(self):
        return [CutAt(self.cut)] if self.cut is not None and self.phase.index == 1 else []


def run(method, **options):
    """What the run gives on this worker."""
    setting = small_setting("class_incremental", workers=2, batch_size=8)
    results = run_here(setting, method, checkpoint_every=3, **options)
    rows = method.buffer.state_dict()["rows"]
    return comparable(results), [p.detach() for p in method.network.parameters()], [rows["x"], rows["y"]]


def run_and_resume(folder, step):
    method = CutRehearsal()
    method.cut = step
    with pytest.raises(PowerCut):
        run(method, run_dir=str(folder))
    torch.manual_seed(99)  # another process
    return run(CutRehearsal(), run_dir=str(folder), resume=True)


def run_whole():
    return run(CutRehearsal())


@pytest.mark.parametrize("step", [1, 5])
def test_each_worker_goes_on_with_its_own_shard_and_buffer(two_workers, tmp_path, step):
    resumed, whole = two_workers.run(run_and_resume, tmp_path / "run", step), two_workers.run(run_whole)
    for mine, expected in zip(resumed, whole, strict=True):
        assert mine[0] == expected[0]
        assert all(map(torch.equal, mine[1] + mine[2], expected[1] + expected[2]))
    assert not torch.equal(whole[0][2][0], whole[1][2][0])
