import itertools
from math import ceil

import pytest
import torch

from redwood.core.workers import split_evenly
from redwood.settings.streams.order import batch_cuts

CASES = [
    (n, b, w) for w in range(1, 5) for b in (1, 2, 3, 5, 8) for n in range(w, 60)
]  # every remainder of n by b * w, several times


def sizes_of(n, b, w):
    """Sizes of the batches (steps, w)."""
    return batch_cuts(n, b, w).diff().view(-1, w)


class TestBatchCuts:
    def test_no_sample_is_lost_and_no_batch_is_empty(self):
        for n, b, w in CASES:
            cuts = batch_cuts(n, b, w)
            assert (int(cuts[0]), int(cuts[-1])) == (0, n)
            assert int(cuts.diff().min()) >= 1

    def test_all_workers_take_the_same_number_of_steps(self):
        for n, b, w in CASES:
            assert (len(batch_cuts(n, b, w)) - 1) % w == 0

    def test_one_worker_takes_the_usual_number_of_steps(self):
        for n, b, w in CASES:
            if w == 1:
                assert len(sizes_of(n, b, w)) == ceil(n / b)

    def test_several_workers_do_so_unless_one_would_go_without(self):
        for n, b, w in CASES:
            steps = ceil(n / (b * w))
            assert len(sizes_of(n, b, w)) == (steps if n >= steps * w else steps - 1)

    def test_batches_are_whole_but_for_the_last_two_steps(self):
        for n, b, w in CASES:
            sizes = sizes_of(n, b, w)
            assert (sizes[:-2] == b).all()
            last = sizes[-2:][(sizes[-2:] != b).any(1)].flatten()
            if len(last):
                assert int(last.max() - last.min()) <= 1

    def test_a_batch_holds_one_sample_only_where_there_are_too_few(self):
        for n, b, w in CASES:
            sizes = sizes_of(n, b, w)
            if b > 1 and int(sizes.min()) == 1:
                assert n < 2 * sizes[-2:].numel() + (sizes[:-2].sum())

    def test_batch_size_is_exceeded_only_where_a_worker_would_go_without(self):
        for n, b, w in CASES:
            if int(sizes_of(n, b, w).max()) > b:
                assert n < ceil(n / (b * w)) * w

    def test_cuts_are_integers(self):
        assert batch_cuts(10, 4, 2).dtype == torch.int64


@pytest.mark.parametrize(("n", "parts"), list(itertools.product(range(12), (1, 2, 3, 5))))
def test_split_evenly_shares_out_everything(n, parts):
    pieces = [list(range(n))[split_evenly(n, part, parts)] for part in range(parts)]
    assert list(itertools.chain(*pieces)) == list(range(n))
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1
