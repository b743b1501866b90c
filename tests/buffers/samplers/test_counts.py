import torch

from redwood.buffers.samplers.counts import water_fill, water_level


def test_level_is_what_fair_shares_gives() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        k = int(torch.randint(1, 8, (1,), generator=generator))
        sizes = torch.randint(0, 9, (k,), generator=generator).tolist()
        n = int(torch.randint(0, sum(sizes) + 1, (1,), generator=generator))
        order = torch.randperm(k, generator=generator).tolist()
        level, rest = water_level(sizes, n)
        larger = [group for group in order if sizes[group] > level]
        assert rest < len(larger) or rest == 0
        wanted = {i: min(size, level) + (i in larger[:rest]) for i, size in enumerate(sizes)}
        assert water_fill(dict(enumerate(sizes)), n, order) == wanted


def test_no_groups() -> None:
    assert water_level([], 0) == (0, 0)
