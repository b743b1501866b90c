"""A run with a shared buffer goes on with another number of workers; others are refused."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from redwood.core.errors import RedwoodError
from redwood.core.workers import world_size
from redwood.methods.replay.async_rehearsal import AsyncRehearsal
from redwood.methods.replay.der import DERpp
from redwood.methods.replay.rehearsal import Rehearsal
from tests.methods.helpers import one_sentence
from tests.power_cut import CutAt, PowerCut
from tests.small_runs import run_here, small_setting

SIZE = 61


class Cut:
    """Ends the process inside a phase, and notes what was stored when that phase began to train."""

    cut = None
    stored = None

    def on_train_start(self):
        super().on_train_start()
        if self.phase.index == self.cut:
            self.stored = stored(self)

    def callbacks(self):
        return [*super().callbacks(), *([CutAt(2)] if self.phase.index == self.cut and self.ends else [])]


@dataclass
class CutAsync(Cut, AsyncRehearsal):
    buffer_size: int = SIZE  # samples that the buffer holds
    buffer_policy: Any = "class_balanced"  # policy that chooses the samples to keep


@dataclass
class CutDERpp(Cut, DERpp):
    buffer_size: int = SIZE  # samples that the buffer holds
    asynchronous: bool = True  # draw from the buffers of all workers


@dataclass
class CutLocal(Cut, Rehearsal):
    buffer_size: int = SIZE  # samples that the buffer holds


def stored(method):
    """The samples of this worker, as values that can be compared, and their classes."""
    rows = method.buffer.state_dict()["rows"]
    return [(x.tolist(), y) for x, y in zip(rows["x"].flatten(1), rows["y"].tolist(), strict=True)] if rows else []


def run(kind, folder, cut, ends, resume):
    """What was stored on this worker as phase `cut` began, and in the end; the options that the run says it had."""
    method = kind()
    method.cut, method.ends = cut, ends
    setting = small_setting("class_incremental", workers=world_size(), batch_size=8)
    try:
        results = run_here(setting, method, checkpoint_every=1, run_dir=str(folder), resume=resume)
    except PowerCut:
        return method.stored, None, None
    return method.stored, stored(method), results.config["workers"]


def of_all(answers, which):
    return sorted(sample for answer in answers for sample in answer[which])


@pytest.mark.parametrize("kind", [CutAsync, CutDERpp])
@pytest.mark.slow
def test_four_then_two_then_three(gloo_workers, tmp_path, kind):
    folder = tmp_path / "run"
    four = gloo_workers.run(4, run, kind, folder, 1, True, False)
    two = gloo_workers.run(2, run, kind, folder, 1, True, True)
    assert four[0][1] is two[0][1] is None  # both were cut
    assert of_all(two, 0) == of_all(four, 0)
    assert max(len(part) for part, *_ in two) - min(len(part) for part, *_ in two) <= 1
    three = gloo_workers.run(3, run, kind, folder, 1, False, True)
    assert of_all(three, 0) == of_all(four, 0)
    assert {workers for *_, workers in three} == {3}
    in_the_end = of_all(three, 1)
    assert len(in_the_end) == SIZE
    assert kind.adds_repeats or all(first != second for first, second in pairwise(in_the_end))


def refused(folder):
    with pytest.raises(RedwoodError, match="--workers 2: the run was saved by 3 workers") as caught:
        run(CutLocal, folder, 1, False, True)
    assert one_sentence(caught.value)


def test_buffers_of_their_own_are_refused(gloo_workers, tmp_path):
    gloo_workers.run(3, run, CutLocal, tmp_path / "run", 1, True, False)
    gloo_workers.run(2, refused, tmp_path / "run")
