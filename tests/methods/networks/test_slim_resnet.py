import pytest
import torch
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks.builtin import BasicBlock, cifar_resnet18, cifar_resnet32, slim_resnet18
from tests.methods.networks.spaces import images, vectors


def test_has_the_layers_of_the_paper() -> None:
    network = slim_resnet18(images(3, 32, 32), 100)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len([m for m in convolutions if m.kernel_size == (3, 3)]) == 17
    assert len([m for m in convolutions if m.kernel_size == (1, 1)]) == 3
    assert [m.conv1.out_channels for m in network.modules() if isinstance(m, BasicBlock)] == [
        *(20, 20, 40, 40, 80, 80, 160, 160)
    ]
    assert not [m for m in network.modules() if isinstance(m, nn.MaxPool2d)]


def test_features_shrink_to_one_eighth() -> None:
    network = slim_resnet18(images(3, 32, 32), 10)
    shapes = []
    pooling = next(m for m in network.modules() if isinstance(m, nn.AdaptiveAvgPool2d))
    pooling.register_forward_pre_hook(lambda _, x: shapes.append(tuple(x[0].shape)))
    network(torch.zeros(2, 3, 32, 32))
    assert shapes == [(2, 160, 4, 4)]


def test_in_full_width_and_for_cifar() -> None:
    wide = cifar_resnet18(images(3, 32, 32), 10)
    assert sum(p.numel() for p in wide.parameters()) == 11_173_962
    deep = cifar_resnet32(images(3, 32, 32), 10)
    blocks = [m.conv1.out_channels for m in deep.modules() if isinstance(m, BasicBlock)]
    assert blocks == [16] * 5 + [32] * 5 + [64] * 5
    assert deep(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_a_block_without_weights_is_its_shortcut() -> None:
    block = BasicBlock(4, 4, stride=1)
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(block(x), x.relu())


def test_needs_images() -> None:
    with pytest.raises(InvalidOptionError, match=r"slim_resnet18 needs images .* got samples \(4,\); choose mlp"):
        slim_resnet18(vectors(4), 10)
