"""Start and stop of each batch of a worker."""

from array import array
from itertools import pairwise

import pytest

from redwood.settings.streams.batches import Spans
from redwood.settings.streams.order import batch_cuts


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("n", [6, 10, 29])
def test_they_are_those_of_a_list_of_pairs(n, workers):
    cuts = batch_cuts(n, 4, workers).tolist()
    spans = [Spans(array("q", cuts), rank, workers) for rank in range(workers)]
    for rank, own in enumerate(spans):
        expected = list(zip(cuts[rank::workers], cuts[rank + 1 :: workers], strict=False))
        assert list(own) == expected and len(own) == len(expected) and own[-1] == expected[-1]
        assert own[1:] == expected[1:] and own[:0] == [] and own[2:100] == expected[2:]
    together = sorted(span for own in spans for span in own)
    assert together == list(pairwise(cuts))
