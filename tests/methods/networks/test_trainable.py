"""What of a network is trained, and what stays as it is."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks import build_network
from redwood.methods.networks.last_layer import output_layer
from redwood.methods.networks.parts import Network
from redwood.methods.networks.trainable import TRAINABLE, Head, LowRank, Trainable
from tests.methods.helpers import one_sentence
from tests.methods.networks.spaces import images

SPACE = images(3, 32, 32)
X = torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def made(name: str, trainable: str | Trainable) -> nn.Module:
    torch.manual_seed(2)
    network = build_network(name, SPACE, 5)
    TRAINABLE.make(trainable).freeze(network, SPACE, name)  # type: ignore[attr-defined]
    return network


def trained(network: nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def step(network: nn.Module) -> None:
    """One step of all that is trained, in training mode."""
    network.train()
    network(X).square().sum().backward()
    torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1).step()


HEADS = {"slim_resnet18": "head", "mlp": "head", "timm:test_vit": "model.head", "timm:test_convnext": "model.head.fc"}


@pytest.mark.parametrize("name", HEADS)
def test_the_head(name: str) -> None:
    assert trained(made(name, "head")) == {f"{HEADS[name]}.weight", f"{HEADS[name]}.bias"}


BLOCKS = {
    "slim_resnet18": {"features.10", "head"},
    "resnet18": {"model.layer4.1", "model.fc"},
    "mobilenet_v3_small": {"model.features.11", "model.features.12", "model.classifier"},
    "timm:test_resnet": {"model.layer4.0", "model.fc"},
    "timm:test_vit": {"model.blocks.5", "model.norm", "model.head"},
    "timm:test_convnext": {"model.stages.3.blocks.1", "model.head.norm", "model.head.fc"},
}


@pytest.mark.parametrize("name", BLOCKS)
def test_the_last_block_and_what_follows_it(name: str) -> None:
    network = made(name, "last_block")
    expected = {key for key, _ in network.named_parameters() if any(key.startswith(f"{b}.") for b in BLOCKS[name])}
    assert trained(network) == expected


@pytest.mark.parametrize("trainable", ["head", "last_block", "lora"])
@pytest.mark.parametrize("name", ["slim_resnet18", "timm:test_resnet"])
def test_a_step_changes_what_is_trained_alone(name: str, trainable: str) -> None:
    network = made(name, trainable)
    before = deepcopy(network.state_dict())
    step(network)
    step(network)  # the matrices A of adapters have gradients once B is no longer zero
    after = network.state_dict()
    moved = {key for key in after if not torch.equal(after[key], before[key])}
    statistics = {key for key in moved if "running" in key or "num_batches" in key}
    # timm's residual branches start at zero: behind them adapters learn nothing in the first steps.
    assert moved - statistics == trained(network) or (name.startswith("timm") and moved < trained(network))
    blocks = {"head": [], "last_block": BLOCKS[name], "lora": []}[trainable]
    assert all(any(key.startswith(f"{block}.") for block in blocks) for key in statistics)
    assert bool(statistics) == (trainable == "last_block")


def test_statistics_stay_frozen_in_a_copy_and_whoever_calls_train() -> None:
    network = deepcopy(made("slim_resnet18", "head"))
    before = network.features[1].running_mean.clone()  # type: ignore[union-attr,index,operator]
    network.train()
    network.features.train()  # type: ignore[operator,union-attr]
    network(X)
    assert torch.equal(network.features[1].running_mean, before)  # type: ignore[index,union-attr,arg-type]


def test_frozen_parameters_of_a_given_module_stay_frozen() -> None:
    network = build_network("mlp", SPACE, 5)
    network.head.bias.requires_grad_(False)  # type: ignore[union-attr,operator]
    Head().freeze(network, SPACE, "mlp")
    assert trained(network) == {"head.weight"}


def test_a_module_that_is_frozen_as_a_whole() -> None:
    network = build_network("mlp", SPACE, 5).requires_grad_(False)
    with pytest.raises(InvalidOptionError, match="--trainable head leaves nothing of mlp to train"):
        Head().freeze(network, SPACE, "mlp")


@pytest.mark.parametrize("name", ["mlp", "simple_cnn"])
def test_networks_without_blocks(name: str) -> None:
    with pytest.raises(
        InvalidOptionError, match=f"needs a network that is made of blocks, and in {name} none"
    ) as error:
        made(name, "last_block")
    assert one_sentence(error.value)


class TestLora:
    @pytest.mark.parametrize("name", ["mlp", "slim_resnet18", "timm:test_vit", "timm:test_convnext"])
    def test_at_first_the_network_computes_the_same(self, name: str) -> None:
        whole, adapted = made(name, "all").eval(), made(name, "lora").eval()
        assert torch.equal(adapted(X), whole(X))
        assert output_layer(adapted, SPACE, "x") in set(adapted.modules())

    def test_rank_alpha_and_targets(self) -> None:
        network = made("timm:test_vit", LowRank(3, 6, ["qkv", "proj"]))
        matrices = {key: p for key, p in network.named_parameters() if "lora_" in key}
        assert {key.partition(".lora_")[0].rpartition(".")[2] for key in matrices} == {"qkv", "proj"}
        assert {min(p.flatten(1).shape) for p in matrices.values()} == {3}
        assert network.model.blocks[0].attn.qkv.scaling == {"default": 2.0}  # type: ignore[union-attr,index]
        assert trained(network) == {*matrices, "model.head.weight", "model.head.bias"}

    def test_what_a_matrix_pair_adds(self) -> None:
        network = made("mlp", LowRank(2, 4))
        layer = network.features[1]  # type: ignore[index]
        torch.nn.init.normal_(layer.lora_B.default.weight)
        x = torch.randn(3, 3072)
        expected = layer.base_layer(x) + 2 * x @ layer.lora_A.default.weight.T @ layer.lora_B.default.weight.T
        torch.testing.assert_close(layer(x), expected)

    def test_layers_whose_weights_are_read_without_a_call_get_none(self) -> None:
        class Attends(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body = models.VisionTransformer(32, 16, 1, 2, 8, 16, num_classes=5)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                scores: torch.Tensor = self.body(x.float() / 255)
                return scores

        network = Attends()
        LowRank(2).freeze(network, SPACE, "Attends")
        step(network)
        assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
        assert not any("lora_" in key and "attention" in key for key in trained(network))

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"lora_rank": 0}, "--lora_rank 0 has to be at least 1"),
            ({"lora_alpha": -1}, "--lora_alpha -1 has to be at least 0"),
            ({"lora_rank": "two"}, "--lora_rank has to be of type int"),
            ({"lora_targets": ["nowhere"]}, "no layer of timm:test_vit ends with 'nowhere'; its last .*mlp.fc2"),
            ({"lora_targets": ["head"]}, "--trainable lora: no layer of timm:test_vit ends with 'head'"),
        ],
    )
    def test_bad_options(self, options: dict[str, Any], sentence: str) -> None:
        with pytest.raises(InvalidOptionError, match=sentence):
            made("timm:test_vit", LowRank(**options))

    def test_a_network_of_a_head_alone(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 5)).double()
        network.register_forward_pre_hook(lambda module, args: (args[0].double(),))
        with pytest.raises(
            InvalidOptionError, match=r"no layer of it could get an adapter; its last layers are: none\."
        ):
            LowRank().freeze(network, SPACE, "it")


def test_unknown_parts() -> None:
    with pytest.raises(
        InvalidOptionError, match="--trainable some is unknown; choose one of all, last_block, head, lora"
    ):
        Network("mlp", trainable="some")
