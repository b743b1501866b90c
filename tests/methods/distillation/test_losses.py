from math import exp, log

import pytest
import torch

from redwood.methods.distillation.losses import jskd, kd, old_share, sigmoid_distillation, two_side


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(8, 5, generator=generator, dtype=torch.float64) for _ in range(2)]


def softmax(scores, temperature):
    powers = [exp(float(score) / temperature) for score in scores]
    return [power / sum(powers) for power in powers]


def divergence(p, q):
    return sum(a * log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("distance", [kd, jskd])
class TestBoth:
    def test_equal_outputs_are_no_distance_apart_and_pull_nowhere(self, distance, pair):
        outputs = pair[0].float().requires_grad_()
        distances = distance(outputs, outputs.detach())
        distances.sum().backward()
        assert distances.tolist() == pytest.approx([0] * 8, abs=1e-6)
        assert outputs.grad.abs().max() < 1e-6

    def test_outputs_that_differ_by_a_constant_say_the_same(self, distance, pair):
        assert distance(pair[0] + 3, pair[0]).abs().max() < 1e-12

    def test_a_step_along_the_gradient_comes_nearer(self, distance, pair):
        outputs = pair[0].clone().requires_grad_()
        before = distance(outputs, pair[1])
        before.sum().backward()
        assert bool((distance(pair[0] - 0.1 * outputs.grad, pair[1]) < before).all())


class TestKd:
    @pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
    def test_it_is_the_formula(self, pair, temperature):
        expected = [
            temperature**2 * divergence(softmax(taught, temperature), softmax(outputs, temperature))
            for outputs, taught in zip(*pair, strict=True)
        ]
        assert kd(*pair, temperature).tolist() == pytest.approx(expected)

    def test_at_a_high_temperature_it_is_the_squared_distance_of_centred_outputs(self, pair):
        centred = [outputs - outputs.mean(1, keepdim=True) for outputs in pair]
        expected = (centred[0] - centred[1]).square().sum(1) / (2 * 5)
        torch.testing.assert_close(kd(*pair, 1e4), expected, rtol=1e-3, atol=0)

    def test_it_says_how_far_the_network_is_from_the_teacher_and_not_the_reverse(self, pair):
        assert not torch.allclose(kd(*pair), kd(*reversed(pair)))


class TestJskd:
    def test_it_is_the_formula(self, pair):
        expected = []
        for outputs, taught in zip(*pair, strict=True):
            p, q = softmax(taught, 2), softmax(outputs, 2)
            mixture = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
            expected.append(4 * (divergence(p, mixture) + divergence(q, mixture)) / 2)
        assert jskd(*pair).tolist() == pytest.approx(expected)
        torch.testing.assert_close(jskd(*pair), jskd(*reversed(pair)))

    def test_it_is_bounded(self):
        outputs = torch.tensor([[1000.0, 0.0]])
        assert jskd(outputs, outputs.flip(1), 1.0).item() == pytest.approx(log(2))


class TestTwoSide:
    @pytest.mark.parametrize(("n_old", "share"), [(2, 1 / 2), (4, 2 / 3), (8, 4 / 5), (0, 0)])
    def test_the_share_of_distillation_grows_with_the_classes(self, n_old, share):
        assert old_share(n_old, 2) == pytest.approx(share)

    def test_both_sides_are_weighed(self):
        assert two_side(torch.tensor(3.0), torch.tensor(7.0), 0.25).item() == 0.75 * 3 + 0.25 * 7


def test_sigmoids_have_targets_of_the_teacher_for_old_classes_and_labels_for_new_ones():
    outputs, taught = torch.tensor([[0.5, -1.0, 2.0, 9.0]]), torch.tensor([[1.0, 5.0, 5.0, 5.0]])
    old, seen = torch.tensor([True, False, False, False]), torch.tensor([True, True, True, False])
    p, target = ([1 / (1 + exp(-float(z))) for z in scores[0]] for scores in (outputs, taught))
    first = -target[0] * log(p[0]) - (1 - target[0]) * log(1 - p[0])
    for y, others in ((1, -log(p[1]) - log(1 - p[2])), (2, -log(1 - p[1]) - log(p[2])), (0, None)):
        expected = first + (others if others is not None else -log(1 - p[1]) - log(1 - p[2]))
        assert sigmoid_distillation(outputs, torch.tensor([y]), taught, old, seen).item() == pytest.approx(expected)
