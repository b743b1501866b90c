import pytest
import torch
from torch import nn

from redwood.branches.target_propagation.dtp import feedback_loss, layer_targets, local_losses

SIGMA = 0.1


def pair(n_in=5, n_out=4):
    """A linear block and a linear feedback module."""
    torch.manual_seed(0)
    return nn.Linear(n_in, n_out), nn.Linear(n_out, n_in, bias=False)


def loss_of(block, feedback, n=1000, seed=0):
    x = torch.randn(n, block.in_features, generator=torch.Generator().manual_seed(7))
    noise = torch.Generator().manual_seed(seed)
    return feedback_loss(block, feedback, x, block(x).detach(), SIGMA, noise)


class TestFeedbackLoss:
    def test_it_expects_the_distance_of_the_jacobians(self):
        """E L = sigma^2 (|G|^2 - 2 tr(G F)) = sigma^2 |G - F^T|^2 - sigma^2 |F|^2 of linear maps."""
        block, feedback = pair()
        losses = torch.stack([loss_of(block, feedback, 10_000, seed) for seed in range(30)]).detach()
        g, f = feedback.weight.detach(), block.weight.detach()
        expected = SIGMA**2 * ((g - f.T).square().sum() - f.square().sum())
        error = float(losses.std()) / len(losses) ** 0.5
        assert error < 0.01 * abs(float(expected))
        assert float(losses.mean()) == pytest.approx(float(expected), abs=4 * error)

    def test_it_is_least_at_the_transposed_weights(self):
        block, feedback = pair()
        with torch.no_grad():
            away = feedback.weight - block.weight.T
            gradients = []
            for weights in (block.weight.T + away, block.weight.T):
                feedback.weight.copy_(weights)
                with torch.enable_grad():
                    gradients += torch.autograd.grad(loss_of(block, feedback, 200_000), [feedback.weight])
        far, near = gradients
        torch.testing.assert_close(far, 2 * SIGMA**2 * away, rtol=0.1, atol=0.03 * float(far.norm()))
        assert float(near.norm()) < 0.03 * float(far.norm())

    def test_training_on_it_finds_them(self):
        block, feedback = pair()
        optimizer = torch.optim.SGD(feedback.parameters(), 1.0, momentum=0.9)
        for seed in range(150):
            optimizer.zero_grad()
            loss_of(block, feedback, 1000, seed).backward()
            optimizer.step()
        torch.testing.assert_close(feedback.weight, block.weight.T, atol=0.05, rtol=0)

    def test_the_block_is_not_trained(self):
        block, feedback = pair()
        loss_of(block, feedback).backward()
        assert block.weight.grad is None
        assert feedback.weight.grad is not None

    def test_the_noise_comes_from_its_generator_alone(self):
        block, feedback = pair()
        losses = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            losses.append(loss_of(block, feedback).item())
        assert losses[0] == losses[1] != loss_of(block, feedback, seed=1).item()


class TestLayerTargets:
    def test_by_hand(self):
        outputs = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]]), torch.tensor([[0.5, 0.5]])]
        feedbacks = [lambda y: torch.cat([2 * y, 3 * y], dim=1), lambda y: y.sum(1, keepdim=True)]
        targets = layer_targets(feedbacks, outputs, torch.tensor([[0.5, 1.5]]))
        # t_1 = 3 + 2 - 1; t_0 = (1, 2) + (8, 12) - (6, 9)
        assert [t.tolist() for t in targets] == [[[3.0, 5.0]], [[4.0]], [[0.5, 1.5]]]

    def test_on_a_linear_network_with_transposed_weights_they_are_steps_of_backpropagation(self):
        torch.manual_seed(0)
        layers = [nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)]
        x, outputs = torch.randn(8, 6), []
        for layer in layers:
            x = layer(x)
            x.retain_grad()
            outputs.append(x)
        loss = nn.functional.cross_entropy(x, torch.arange(8) % 3, reduction="sum")
        loss.backward()
        feedbacks = [lambda y, layer=layer: y @ layer.weight for layer in layers[1:]]
        targets = layer_targets(feedbacks, outputs, (x - 0.7 * x.grad).detach())
        for h, target in zip(outputs, targets, strict=True):
            torch.testing.assert_close(target, h - 0.7 * h.grad)
            assert not target.requires_grad

    def test_one_block_needs_no_feedback(self):
        last = torch.ones(2, 3)
        assert layer_targets([], [torch.zeros(2, 3)], last) == [last]


class TestLocalLosses:
    def test_by_hand(self):
        outputs = [torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0], [1.0]])]
        targets = [torch.tensor([[1.0, 0.0], [0.0, 4.0]]), torch.tensor([[2.0], [1.0]])]
        assert local_losses(outputs, targets).tolist() == [(4 + 9) / 4, 4 / 4]

    def test_a_target_matters_to_its_own_block_only(self):
        torch.manual_seed(0)
        layers, x = [nn.Linear(3, 3), nn.Linear(3, 3)], torch.randn(4, 3)
        lower = layers[0](x)
        outputs = [lower, layers[1](lower.detach())]
        targets = [torch.randn(4, 3), torch.randn(4, 3)]
        gradients = []
        for moved in (0.0, 1.0):
            loss = local_losses(outputs, [targets[0], targets[1] + moved]).sum()
            gradients.append(torch.autograd.grad(loss, [layer.weight for layer in layers], retain_graph=True))
        assert torch.equal(gradients[0][0], gradients[1][0])
        assert not torch.equal(gradients[0][1], gradients[1][1])
