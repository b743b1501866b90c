"""What a sweep has found."""

from types import SimpleNamespace

import pytest

from redwood.experiments.sweeps.study import COMPLETE, PRUNED, Ending, Tried
from redwood.experiments.sweeps.summary import Summary


@pytest.mark.parametrize("lower_is_better", [False, True])
def test_ties(lower_is_better):
    """The fewest FLOPs count, then the number; a trial that ended early has no score."""
    ends = [(COMPLETE, 0.5, 3), (COMPLETE, 0.4, 1), (COMPLETE, 0.5, 2), (PRUNED, 0.5, 1), (COMPLETE, 0.4, 1)]
    trials = [
        Tried(number, {}, Ending(state, (score,), flops=flops)) for number, (state, score, flops) in enumerate(ends)
    ]
    found = Summary(SimpleNamespace(lower_is_better=lower_is_better), trials, [])
    assert found.best.number == (1 if lower_is_better else 2)
    assert [tried.number for tried in found.alike] == ([4] if lower_is_better else [0])
