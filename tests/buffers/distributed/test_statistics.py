"""Draws from what all workers store have the distributions that they should have, and the checks reject others."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from tests.buffers.distributed.checks import (
    Z_LIMIT,
    Draws,
    disjoint_rejections,
    draws_of,
    group_p_value,
    is_disjoint,
    joint,
    newcomer_z_score,
    overlap_z_score,
    rejections,
)
from tests.buffers.distributed.neomem_reference import folded
from tests.buffers.distributed.recorder import CLASSES_PER_TASK, record
from tests.buffers.distributed.streams import NOTHING, count, filling, ragged
from tests.buffers.statistics import ALPHA, draw_p_value
from tests.workers import GlooWorkers

# Sixteen classes are declared, twelve have come: three tasks of four.
N_CLASSES, N_SEEN = 16, 12
# Samples that each worker stores; one may have none, and another one much more than the rest.
SIZES = {2: [31, 18], 4: [25, 0, 14, 9], 8: [12, 0, 7, 3, 20, 5, 1, 12]}
N_DRAWS = {2: 500, 4: 300, 8: 200}
OVERLAPS = {f"overlaps at lag {lag}" for lag in (0, 1, 2)}


def draws_from(workers: GlooWorkers, sizes: list[int], replay: int, n_draws: int, **options: object) -> Draws:
    """Draws of all workers from samples that stay, those of a class being on many of them."""
    labels = torch.arange(sum(sizes)) % N_SEEN
    offered = filling(sizes, n_draws)
    options = {"buffer_size": len(sizes) * max(sizes), "replay": replay} | options
    return draws_of(workers.run(len(sizes), record, options, labels, offered), labels, len(offered[0]) - n_draws)


class TestUniform:
    @pytest.mark.parametrize("world", SIZES)
    @pytest.mark.few(1)
    def test_draws_pass_all_checks(self, gloo_workers: GlooWorkers, world: int) -> None:
        """In all a step draws 10 of 49 samples, 20 of 48, or 40 of 60: workers draw different ones."""
        assert disjoint_rejections(draws_from(gloo_workers, SIZES[world], 5, N_DRAWS[world])) == {}

    @pytest.mark.parametrize(("sizes", "replay"), [([6, 4], 7), (SIZES[4], 13), (SIZES[8], 8)])
    @pytest.mark.few(1)
    def test_draws_of_more_than_there_are_for_all(
        self, gloo_workers: GlooWorkers, sizes: list[int], replay: int
    ) -> None:
        """Workers that cannot all draw different samples draw independently."""
        draws = draws_from(gloo_workers, sizes, replay, 300)
        assert not is_disjoint(draws)
        assert rejections(draws) == {}

    @pytest.mark.parametrize("replay", [1, 12, 22])
    @pytest.mark.few(1)
    def test_draws_of_one_sample_and_of_all_but_one(self, gloo_workers: GlooWorkers, replay: int) -> None:
        checked = disjoint_rejections if replay == 1 else rejections
        assert checked(draws_from(gloo_workers, [16, 7], replay, 500)) == {}

    @pytest.mark.parametrize("replay", [6, 9])
    def test_draws_of_all_samples_and_of_more(self, gloo_workers: GlooWorkers, replay: int) -> None:
        draws = draws_from(gloo_workers, [3, 1, 0, 2], replay, 20)
        assert (draws.trials.sort().values == torch.arange(6)).all()

    @pytest.mark.slow
    def test_two_seeds_are_independent(self, gloo_workers: GlooWorkers) -> None:
        """On neighbouring workers as well, for which seed + rank may be the same number."""
        one, other = (draws_from(gloo_workers, SIZES[2], 5, 300, seed=seed) for seed in (0, 1))
        both = Draws(torch.cat([joint(one).ids, joint(other).ids]), one.owners, one.labels)
        assert all(abs(overlap_z_score(both, lag)) < Z_LIMIT for lag in (0, 1))

    @pytest.mark.parametrize("world", SIZES)
    @pytest.mark.few(1)
    def test_new_samples_are_as_likely_as_old_ones(self, gloo_workers: GlooWorkers, world: int) -> None:
        offered = ragged(world, 100)
        labels = torch.arange(count(offered)) % N_SEEN
        records = gloo_workers.run(world, record, {"buffer_size": 40, "replay": 7}, labels, offered)
        assert abs(newcomer_z_score(records)) < Z_LIMIT


class TestOtherSamplers:
    @pytest.mark.parametrize("replay", [24, 30])
    @pytest.mark.few(1)
    def test_classes_have_equal_shares_and_their_samples_equal_chances(
        self, gloo_workers: GlooWorkers, replay: int
    ) -> None:
        draws = draws_from(gloo_workers, SIZES[4], replay, 200, sampler="class_balanced")
        shares = one_hot(draws.labels[draws.trials], N_SEEN).sum(1)
        level, rest = divmod(replay, N_SEEN)
        assert ((shares == level) | (shares == level + 1)).all()
        if rest:
            assert draw_p_value((shares - level).sum(0), rest, len(shares)) > ALPHA
            return
        counts = draws.trials.flatten().bincount()
        p_values = [draw_p_value(counts[draws.labels == name], level, len(shares)) for name in range(N_SEEN)]
        assert min(p_values) > ALPHA / N_SEEN

    @pytest.mark.slow
    def test_old_tasks_only(self, gloo_workers: GlooWorkers) -> None:
        """Three batches on each worker, each of a task; the last ones are of different tasks."""
        sizes, orders = [3, 5, 2, 4], [[0, 1, 2], [1, 0, 2], [0, 1, 2], [0, 2, 1]]
        tasks = torch.tensor(orders).flatten().repeat_interleave(torch.tensor(sizes).repeat_interleave(3))
        starts = [0, 9, 24, 30]
        offered = [
            [range(start + i * size, start + (i + 1) * size) for i in range(3)] + [NOTHING] * 300
            for start, size in zip(starts, sizes, strict=True)
        ]
        options = {"buffer_size": 60, "replay": 5, "sampler": "old_tasks"}
        labels = CLASSES_PER_TASK * tasks
        draws = draws_of(gloo_workers.run(4, record, options, labels, offered), labels, 3)
        for order, ids in zip(orders, draws.ids, strict=True):
            counts, old = ids.flatten().bincount(minlength=len(tasks)), tasks != order[-1]
            assert not counts[~old].any()
            assert draw_p_value(counts[old], 5, len(ids)) > ALPHA


class TestNegativeControl:
    """The checks reject the biased draws of the reference implementation, each of which has several faults."""

    def stored(self, world: int, n_classes: int, n_each: int) -> tuple[Tensor, Tensor]:
        """Owners and labels, if every worker has as many samples of each class."""
        owners = torch.arange(world).repeat_interleave(n_classes * n_each)
        return owners, torch.arange(n_classes).repeat_interleave(n_each).repeat(world)

    def test_while_classes_are_missing(self) -> None:
        draws = folded(*self.stored(4, N_SEEN, 4), N_CLASSES, 4, 16, 500)
        assert {"samples", "classes", "tasks", "repeated"} | OVERLAPS <= set(rejections(draws))
        counts = (draws.labels[draws.trials] // CLASSES_PER_TASK).flatten().bincount()
        assert (counts / counts.sum()).tolist() == pytest.approx([0.5, 0.25, 0.25], abs=0.01)

    def test_while_classes_are_not_full(self) -> None:
        draws = folded(*self.stored(4, N_CLASSES, 3), N_CLASSES, 4, 7, 500)
        assert {"samples", "repeated"} | OVERLAPS <= set(rejections(draws))

    def test_workers_that_store_unequally(self) -> None:
        owners = torch.arange(4).repeat_interleave(torch.tensor([25, 3, 14, 9]))
        draws = folded(owners, torch.arange(len(owners)) % N_SEEN, N_CLASSES, 4, 5, 400)
        assert {"samples", "classes", "workers", "splits", "repeated"} <= set(rejections(draws))

    def test_slot_0(self) -> None:
        draws = folded(*self.stored(4, N_CLASSES, 4), N_CLASSES, 4, 16, 500)
        assert not (draws.ids == 0).any()
        assert set(rejections(draws)) == {"samples", "unreachable"}

    def test_generators_with_consecutive_seeds(self) -> None:
        draws = folded(*self.stored(8, N_CLASSES, 4), N_CLASSES, 4, 1, 3000)
        assert set(rejections(draws)) == {"unreachable", "chains"}

    def test_370_sampled_representatives_are_enough(self) -> None:
        draws = folded(*self.stored(2, N_SEEN, 8), N_CLASSES, 8, 5, 37)
        assert group_p_value(draws, draws.labels // CLASSES_PER_TASK) < ALPHA


class TestChecksThemselves:
    def independent(self, seed: int, world: int = 4) -> Draws:
        generator = torch.Generator().manual_seed(seed)
        owners = torch.arange(world).repeat_interleave(torch.tensor(SIZES[world]))
        ids = torch.rand(world, 300, len(owners), generator=generator).argsort(2)[:, :, :5]
        return Draws(ids, owners, torch.arange(len(owners)) % N_SEEN)

    def test_they_pass_independent_draws(self) -> None:
        rejected = [rejections(self.independent(seed)) for seed in range(40)]
        assert sum(map(bool, rejected)) <= 2

    def disjoint(self, seed: int, world: int = 4) -> Draws:
        generator = torch.Generator().manual_seed(seed)
        owners = torch.arange(world).repeat_interleave(torch.tensor(SIZES[world]))
        ids = torch.rand(300, len(owners), generator=generator).argsort(1)[:, : 5 * world]
        return Draws(ids.view(300, world, 5).transpose(0, 1), owners, torch.arange(len(owners)) % N_SEEN)

    def test_they_pass_disjoint_draws(self) -> None:
        rejected = [disjoint_rejections(self.disjoint(seed)) for seed in range(40)]
        assert sum(map(bool, rejected)) <= 2

    def test_other_draws_than_disjoint_ones_are_rejected(self) -> None:
        """Independent ones; ones that are shared out by their owners; and the same ones in every other step."""
        assert "shared" in disjoint_rejections(self.independent(0))
        draws = self.disjoint(0)
        by_owner = joint(draws).ids[0].sort(1).values.view(300, 4, 5).transpose(0, 1)
        assert "splits" in disjoint_rejections(draws._replace(ids=by_owner))
        repeated = draws.ids[:, torch.arange(300) // 2]
        assert set(disjoint_rejections(draws._replace(ids=repeated))) >= {"overlaps at lag 1"}
        missing = (draws.ids != 0).flatten(2).all(2).all(0) | (torch.arange(300) % 10 == 0)
        assert "samples of all" in disjoint_rejections(draws._replace(ids=draws.ids[:, missing]))

    def test_draws_that_are_stratified_over_workers_are_rejected(self) -> None:
        """They have the right averages."""
        generator = torch.Generator().manual_seed(0)
        owners = torch.arange(2).repeat_interleave(20)
        rows = torch.rand(2, 400, 2, 20, generator=generator).argsort(3)[..., :3] + torch.tensor([[0], [20]])
        assert set(rejections(Draws(rows.flatten(2), owners, torch.arange(40) % 4))) == {"splits"}

    def test_copies_and_shifted_copies_are_rejected(self) -> None:
        draws = self.independent(0)
        for shift in (0, 1, 2):
            ids = torch.cat([draws.ids[:3], draws.ids[:1].roll(shift, 1)])
            assert OVERLAPS & set(rejections(draws._replace(ids=ids))) == {f"overlaps at lag {shift}"}
