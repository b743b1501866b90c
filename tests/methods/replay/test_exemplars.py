from collections import Counter

import pytest

from redwood.core.errors import InvalidOptionError
from redwood.methods.distillation.bic import BiC
from redwood.methods.distillation.icarl import ICaRL
from redwood.methods.distillation.wa import WA
from tests.methods.helpers import refused
from tests.small_runs import run_here, small_setting


def shown(cls):
    """For each pass over a task: how often each exemplar was replayed, and how many were in each batch."""
    passes = []

    class Watched(cls):
        def draw(self, step):
            replayed = super().draw(step)
            if self._batch == 0:
                passes.append((self.n_exemplars, Counter(), []))
            slots = [] if replayed is None else replayed.slots.tolist()
            passes[-1][1].update(slots)
            passes[-1][2].append(len(slots))
            return replayed

    method = Watched(buffer_size=60, union=True)
    run_here(small_setting("class_incremental"), method)
    return method, passes


def test_each_exemplar_is_shown_once_in_a_pass():
    method, passes = shown(ICaRL)
    assert len(passes) == 6 and all(not counts for n, counts, _ in passes[:2])
    for n, counts, sizes in passes[2:]:
        assert n > 40 and counts == Counter(range(n))
        assert max(sizes) - min(sizes) <= 1
    assert method.never_acted() is None


@pytest.mark.parametrize("cls", [BiC, WA])
def test_exemplars_that_new_samples_replace_are_left_out(cls):
    _, passes = shown(cls)
    for n, counts, _ in passes[2:]:
        assert 0 < len(counts) < n and set(counts.values()) == {1}


@pytest.mark.parametrize(
    "options", [{"replay_ratio": 2.0}, {"buffer_sampler": "class_balanced"}, {"asynchronous": True}]
)
def test_options_that_would_have_no_effect_are_refused(options):
    with refused("--union true", InvalidOptionError):
        WA(union=True, **options)
