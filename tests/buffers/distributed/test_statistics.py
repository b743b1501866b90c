"""Draws from what all workers store have the distributions that they should have, and the checks reject others."""

import pytest
import torch

from tests.buffers.distributed.checks import (
    Z_LIMIT,
    Draws,
    disjoint_rejections,
    draws_of,
    joint,
    newcomer_z_score,
)
from tests.buffers.distributed.recorder import record
from tests.buffers.distributed.streams import count, filling, ragged
from tests.workers import GlooWorkers

N_SEEN = 12  # classes: three tasks of four
# Samples that each worker stores; one may have none, and another one much more than the rest.
SIZES = {2: [31, 18], 4: [25, 0, 14, 9], 8: [12, 0, 7, 3, 20, 5, 1, 12]}
N_DRAWS = {2: 500, 4: 300, 8: 200}


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

    @pytest.mark.parametrize("replay", [6, 9])
    def test_draws_of_all_samples_and_of_more(self, gloo_workers: GlooWorkers, replay: int) -> None:
        draws = draws_from(gloo_workers, [3, 1, 0, 2], replay, 20)
        assert (draws.trials.sort().values == torch.arange(6)).all()

    @pytest.mark.parametrize("world", SIZES)
    @pytest.mark.few(1)
    def test_new_samples_are_as_likely_as_old_ones(self, gloo_workers: GlooWorkers, world: int) -> None:
        offered = ragged(world, 100)
        labels = torch.arange(count(offered)) % N_SEEN
        records = gloo_workers.run(world, record, {"buffer_size": 40, "replay": 7}, labels, offered)
        assert abs(newcomer_z_score(records)) < Z_LIMIT


class TestChecksThemselves:
    def independent(self, seed: int, world: int = 4) -> Draws:
        generator = torch.Generator().manual_seed(seed)
        owners = torch.arange(world).repeat_interleave(torch.tensor(SIZES[world]))
        ids = torch.rand(world, 300, len(owners), generator=generator).argsort(2)[:, :, :5]
        return Draws(ids, owners, torch.arange(len(owners)) % N_SEEN)

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
