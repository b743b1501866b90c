import pytest
import torch

from redwood.methods.distillation.bic import HeldOut

N = 4000


def samples(dtype):
    generator = torch.Generator().manual_seed(0)
    if dtype.is_floating_point:
        return torch.randint(0, 17, (N, 1, 8, 8), generator=generator).to(dtype) / 16
    return torch.randint(0, 17, (N, 1, 8, 8), generator=generator).to(dtype)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float16, torch.float32, torch.float64])
class TestShare:
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
    def test_it_is_about_what_was_asked_for(self, dtype, share):
        held_out = HeldOut(share, seed=0)(samples(dtype))
        assert held_out.dtype == torch.bool
        assert held_out.float().mean().item() == pytest.approx(share, abs=5 * (share * (1 - share) / N) ** 0.5)

    def test_a_sample_is_judged_alike_wherever_it_comes(self, dtype):
        x, held_out = samples(dtype), HeldOut(0.3, seed=0)
        order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
        expected = held_out(x)
        assert torch.equal(HeldOut(0.3, seed=0)(x[order]), expected[order])
        assert torch.equal(torch.cat([held_out(part) for part in x.split(7)]), expected)


def test_samples_that_differ_in_one_number_are_judged_apart():
    x = torch.zeros(256, 64, dtype=torch.uint8)
    x[:, 3] = torch.arange(256)
    assert 0.3 < HeldOut(0.5, seed=0)(x).float().mean() < 0.7


def test_other_seeds_hold_out_others():
    x = samples(torch.uint8)
    first, second = (HeldOut(0.5, seed=seed)(x) for seed in (0, 1))
    assert (first != second).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_large_samples_are_not_looked_at_in_full():
    x = torch.rand(300, 3, 70, 70, generator=torch.Generator().manual_seed(0))
    assert HeldOut(0.5, seed=0)(x).float().mean().item() == pytest.approx(0.5, abs=0.15)
