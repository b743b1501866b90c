import pytest
import torch
from torch import nn

from redwood.methods.networks import build_network
from redwood.methods.target_propagation.inversion import blocks_of, cut
from redwood.settings import get_setting
from tests.small_runs import NormalisedNetwork


def kinds(block):
    return [type(layer) for layer in block]


def network_named(name):
    setting = get_setting("class_incremental")().for_method()
    return build_network(name, setting.observation_space, 10)


class TestBlocksOf:
    def test_mlp(self):
        blocks = blocks_of(network_named("mlp"))
        assert list(map(kinds, blocks)) == [[nn.Linear, nn.ReLU], [nn.Linear, nn.ReLU], [nn.Linear]]

    def test_simple_cnn(self):
        blocks = blocks_of(network_named("simple_cnn"))
        convolution = [nn.Conv2d, nn.ReLU, nn.MaxPool2d]
        assert list(map(kinds, blocks)) == [convolution, convolution, [*convolution, nn.Flatten], [nn.Linear]]

    def test_they_are_the_network(self):
        network = network_named("simple_cnn")
        x = torch.rand(3, 1, 8, 8) * 16
        y = network.scale(x)
        for block in blocks_of(network):
            y = block(y)
        assert torch.equal(y, network(x))

    def test_a_sequence_with_a_forward_of_its_own_is_one_layer(self):
        network = NormalisedNetwork()
        (block,) = blocks_of(nn.Sequential(nn.Flatten(), network))
        assert list(block) == [network]

    def test_nothing_to_train(self):
        assert blocks_of(nn.Flatten()) == []


class TestCut:
    def passes(self, *batches):
        """A small network, and what was seen of these batches, with the gradients of a sum of losses, one per block."""
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 5), nn.ELU(), nn.Linear(5, 6), nn.ELU(), nn.Linear(6, 3))
        blocks = blocks_of(network)
        with cut(network, blocks) as seen:
            scores = [network(x) for x in batches]
        return network, blocks, seen, scores

    def test_it_shows_what_each_block_puts_out(self):
        x = torch.randn(7, 4)
        _, blocks, seen, (scores,) = self.passes(x)
        for block, (output,) in zip(blocks, seen.outputs, strict=True):
            x = block(x)
            assert torch.equal(output, x)
        assert torch.equal(scores, x)
        assert seen.scores == [scores]

    def test_no_gradient_crosses(self):
        _, blocks, seen, _ = self.passes(torch.randn(7, 4))
        for number, (output,) in enumerate(seen.outputs):
            for other, block in enumerate(blocks):
                found = torch.autograd.grad(
                    output.sum(), list(block.parameters()), allow_unused=True, retain_graph=True
                )
                assert all((gradient is not None) == (number == other) for gradient in found)

    def test_none_leaves_the_last_block(self):
        _, _, _, (scores,) = self.passes(torch.randn(7, 4))
        assert scores.requires_grad and scores.is_leaf

    def test_several_passes(self):
        _, _, seen, scores = self.passes(torch.randn(7, 4), torch.randn(2, 4))
        assert [[len(y) for y in outputs] for outputs in seen.outputs] == [[7, 2]] * 3
        assert all(map(torch.equal, seen.scores, scores))

    def test_afterwards_the_network_is_whole_again(self):
        network, blocks, _, _ = self.passes(torch.randn(7, 4))
        with pytest.raises(ZeroDivisionError), cut(network, blocks):
            raise ZeroDivisionError
        network(torch.randn(7, 4)).sum().backward()
        assert all(p.grad is not None for p in network.parameters())
