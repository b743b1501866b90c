import pytest
import torch

from redwood.settings.prequential import CURVE_POINTS, OnlineAccuracy
from tests.runs import small_setting


def scored(hits, sizes):
    online = OnlineAccuracy(len(hits))
    for hit, size in zip(hits, sizes, strict=True):
        y = torch.zeros(size, dtype=torch.long)
        predictions = torch.ones(size, dtype=torch.long)
        predictions[:hit] = 0
        online.update(predictions, y)
    return online


class TestOnlineAccuracy:
    def test_each_point_counts_the_samples_since_the_one_before(self):
        assert scored([1, 0, 2], [4, 2, 2]).curve() == [(4, 0.25), (6, 0.0), (8, 1.0)]

    def test_nothing_scored(self):
        assert OnlineAccuracy(3).curve() == []

    @pytest.mark.parametrize("steps", [CURVE_POINTS, CURVE_POINTS + 1, 3 * CURVE_POINTS - 1, 1000])
    def test_a_long_curve_is_thinned_out_without_losing_a_sample(self, steps):
        sizes = [1 + step % 5 for step in range(steps)]
        hits = [step % (size + 1) for step, size in enumerate(sizes)]
        curve = scored(hits, sizes).curve()
        assert len(curve) == CURVE_POINTS
        assert curve[-1][0] == sum(sizes)
        seen = [0] + [samples for samples, _ in curve]
        total = sum(
            accuracy * (after - before) for (_, accuracy), before, after in zip(curve, seen, seen[1:], strict=False)
        )
        assert total == pytest.approx(sum(hits))

    def test_steps_that_were_not_scored_are_left_out(self):
        online = OnlineAccuracy(5)
        online.update(torch.tensor([1, 1]), torch.tensor([1, 0]))
        assert online.curve() == [(2, 0.5)]

    def test_state_is_gone_on_with(self):
        whole = scored([1, 0, 2], [4, 2, 2])
        first = OnlineAccuracy(3)
        first.update(torch.tensor([0, 1, 1, 1]), torch.zeros(4))
        resumed = OnlineAccuracy(3)
        resumed.load_state_dict(first.state_dict())
        for hit, size in ((0, 2), (2, 2)):
            resumed.update(torch.ones(size), torch.full((size,), hit / 2))
        assert resumed.curve() == whole.curve()
        assert first.curve() == [(4, 0.25)]


class TestPhase:
    @pytest.mark.parametrize("key", ["continual", "class_incremental"])
    def test_only_the_first_showing_of_a_sample_is_scored(self, key):
        phase = next(small_setting(key, passes=3).phases())
        for _ in range(phase.train.epochs):
            for batch in phase.train:
                phase.score(batch.y, batch.y)
        n_samples = phase.train.samples_served // 3
        assert phase.online.curve()[-1] == (n_samples, 1.0)

    def test_state_is_gone_on_with(self):
        setting = small_setting("class_incremental")
        phase, resumed, whole = (next(setting.phases()) for _ in range(3))
        for batch in whole.train:
            whole.score(batch.y % 2, batch.y)
        batches = iter(phase.train)
        batch = next(batches)
        phase.score(batch.y % 2, batch.y)
        resumed.load_state_dict(phase.state_dict())
        for batch in resumed.train:
            resumed.score(batch.y % 2, batch.y)
        assert resumed.online.curve() == whole.online.curve()
        assert resumed.train.state_dict() == whole.train.state_dict()
