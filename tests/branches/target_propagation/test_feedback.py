import pytest
import torch
from torch import nn

from redwood.branches.target_propagation.feedback import blocks_of, cut, make_feedback
from redwood.core.errors import InvalidOptionError
from redwood.methods.networks import build_network
from redwood.settings import get_setting
from tests.methods.helpers import one_sentence
from tests.small_runs import NormalisedNetwork

# A layer, and the shape of a sample that it takes.
LAYERS = {
    "linear": (nn.Linear(6, 4), (6,)),
    "convolution": (nn.Conv2d(2, 3, 3, padding=1), (2, 8, 8)),
    "stride that leaves a rest": (nn.Conv2d(2, 3, 3, stride=2, padding=1), (2, 8, 7)),
    "groups": (nn.Conv2d(4, 6, 3, groups=2), (4, 8, 8)),
    "dilation": (nn.Conv2d(2, 3, 3, dilation=2), (2, 8, 8)),
    "ReLU": (nn.ReLU(), (6,)),
    "pooling": (nn.MaxPool2d(2), (3, 8, 8)),
    "pooling that leaves a rest": (nn.MaxPool2d(2), (3, 7, 5)),
    "pooling with overlap": (nn.MaxPool2d(3, stride=2, padding=1), (3, 8, 8)),
    "pooling, rounded up": (nn.MaxPool2d(2, ceil_mode=True), (3, 7, 7)),
    "flattening": (nn.Flatten(), (3, 4, 2)),
    "block": (nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()), (2, 8, 8)),
}


@pytest.mark.parametrize("name", LAYERS)
class TestFeedback:
    def test_they_lead_from_the_output_space_to_the_input_space(self, name):
        layer, shape = LAYERS[name]
        x = torch.randn(5, *shape)
        y = layer(x)
        assert make_feedback(layer).at(x)(y).shape == x.shape

    def test_with_the_layers_own_weights_they_are_backpropagation(self, name):
        """Their Jacobian can be the transposed one of the layer; training has to find the weights only."""
        layer, shape = LAYERS[name]
        module = make_feedback(layer)
        weights = [p for p in layer.parameters() if p.dim() > 1]
        with torch.no_grad():
            for mine, others in zip(module.parameters(), weights, strict=True):
                mine.copy_(others.T if others.dim() == 2 else others)
        x = torch.randn(5, *shape, requires_grad=True)
        y = layer(x)
        change = torch.randn_like(y)
        (expected,) = torch.autograd.grad(y, x, change)
        feedback = module.at(x.detach())
        torch.testing.assert_close(feedback(y + change) - feedback(y), expected, rtol=1e-4, atol=1e-5)
        assert bool(expected.any())

    def test_the_layers_weights_are_none_of_theirs(self, name):
        layer, _ = LAYERS[name]
        own = {p.data_ptr() for p in make_feedback(layer).parameters()}
        assert len(own) == sum(p.dim() > 1 for p in layer.parameters())
        assert not own & {p.data_ptr() for p in layer.parameters()}


def test_the_feedback_of_elu_is_elu():
    y = torch.linspace(-3, 3, 7)
    assert torch.equal(make_feedback(nn.ELU(alpha=2.0)).at(y)(y), nn.functional.elu(y, alpha=2.0))


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(3),
        nn.Dropout(),
        nn.Sequential(nn.Linear(2, 2), nn.Tanh()),
        nn.Conv2d(1, 1, 3, padding="same"),
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_other_layers_are_refused(layer):
    with pytest.raises(InvalidOptionError, match="has no feedback for") as raised:
        make_feedback(layer)
    assert one_sentence(raised.value)


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
