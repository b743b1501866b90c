import re
from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import nn
from torchvision import models

from redwood.branches.streaming.slda import SLDA
from redwood.core.errors import InvalidOptionError
from redwood.methods.networks import Scale, build_network
from redwood.methods.networks.backbone import make_backbone
from redwood.methods.networks.last_layer import features_of
from redwood.methods.networks.torchvision_models import torchvision_input
from tests.methods.helpers import one_sentence
from tests.samples import few_digits
from tests.small_runs import NormalisedNetwork, run_here, small_setting

SPACE = small_setting("class_incremental").observation_space
X = few_digits(n_train=40).x
SMALL = "shufflenet_v2_x0_5"


class TestIdentity:
    def test_the_scaled_sample_flattened(self):
        backbone = make_backbone("identity", "", SPACE, seed=0)
        assert torch.equal(backbone(X), (X.float() / 8 - 1).flatten(1))
        assert backbone.dim == 64


class TestNamedNetwork:
    @pytest.mark.parametrize("name", ["mlp", SMALL])
    def test_the_input_of_the_last_layer(self, name):
        backbone = make_backbone(name, "", SPACE, seed=0)
        features = backbone(X)
        assert features.shape == (40, backbone.dim)
        assert torch.equal(features, features_of(backbone.network, X))

    def test_random_weights_follow_from_the_seed_alone(self):
        features = []
        for seed, elsewhere in ((3, 0), (3, 1), (4, 0)):
            torch.manual_seed(elsewhere)
            before = torch.get_rng_state()
            features.append(make_backbone("mlp", "", SPACE, seed)(X))
            assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(features[0], features[1])
        assert not torch.equal(features[0], features[2])

    def test_nothing_in_it_changes(self):
        backbone = make_backbone(SMALL, "", SPACE, seed=0)
        state = deepcopy(backbone.state_dict())
        backbone.train()
        backbone(X)
        assert all(torch.equal(value, state[name]) for name, value in backbone.state_dict().items())
        assert not any(p.requires_grad for p in backbone.parameters())

    def test_a_torchvision_model_on_grey_images_in_a_run(self):
        method = SLDA(backbone="resnet18")
        results = run_here(small_setting("online_class_incremental", nb_tasks=2), method)
        assert method.sums["by_class"].shape == (10, 512)
        assert results.metrics["average_accuracy"] > 0.2
        assert results.cost.parameters > 11_000_000


class TestModule:
    def test_its_output_is_the_features(self):
        torch.manual_seed(0)
        module = NormalisedNetwork(n_outputs=7)
        backbone = make_backbone(module, "", SPACE, seed=0)
        features = backbone(X)
        assert torch.equal(features, module.eval()(X).detach())
        assert backbone.dim == 7

    def test_it_is_copied(self):
        module = NormalisedNetwork()
        backbone = make_backbone(module, "", SPACE, seed=0)
        assert module.training and all(p.requires_grad for p in module.parameters())
        assert not {id(p) for p in module.parameters()} & {id(p) for p in backbone.parameters()}

    @pytest.mark.parametrize(
        ("module", "sentence"),
        [
            (nn.Linear(3, 4), r"cannot take samples \(1, 8, 8\) uint8"),
            (nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (1, -1))), "maps 2 samples to 1 rows"),
        ],
    )
    def test_modules_that_do_not_fit(self, module, sentence):
        with pytest.raises(InvalidOptionError, match=sentence) as error:
            make_backbone(module, "", SPACE, seed=0)
        assert one_sentence(error.value)


class TestWeights:
    def test_one_model_of_torchvision_was_trained_on_other_colours(self):
        for name, mean in ((SMALL, [0.485, 0.456, 0.406]), ("efficientnet_v2_l", [0.5] * 3)):
            assert torchvision_input(name).mean == pytest.approx(mean)

    @pytest.mark.parametrize("name", [SMALL, "densenet121"])
    @pytest.mark.few(1)
    def test_older_files_of_torchvision(self, name, tmp_path):
        """They lack what batch normalisation counts, and DenseNet's have points in the names of its layers."""
        space = Box(0, 255, (3, 32, 32), np.uint8)
        state = models.get_model(name, weights=None).state_dict()
        old = {
            re.sub(r"\.(norm|conv)([12])\.", r".\1.\2.", key) if "denselayer" in key else key: value
            for key, value in state.items()
            if not key.endswith("num_batches_tracked")
        }
        assert len(old) < len(state)
        features = []
        for number, content in enumerate((state, old)):
            torch.save(content, tmp_path / f"{number}.pth")
            backbone = make_backbone(name, str(tmp_path / f"{number}.pth"), space, seed=number)
            features.append(backbone(torch.arange(2 * 3 * 32 * 32).view(2, 3, 32, 32) % 256))
        assert torch.equal(*features)

    def test_those_of_torchvision_get_the_colours_that_they_were_trained_on(self, tmp_path):
        torch.manual_seed(5)
        trained = models.get_model(SMALL, weights=None, num_classes=7).eval()
        torch.save(trained.state_dict(), tmp_path / "weights.pth")
        features = make_backbone(SMALL, str(tmp_path / "weights.pth"), SPACE, seed=0)(X)
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        colours = (X.float() / 16).expand(-1, 3, -1, -1)
        expected = features_of(trained, (colours - mean[:, None, None]) / std[:, None, None])
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)

    def test_of_a_network_of_ours(self, tmp_path):
        torch.manual_seed(5)
        trained = build_network("mlp", SPACE, 4)
        torch.save(trained.state_dict(), tmp_path / "weights.pth")
        features = make_backbone("mlp", str(tmp_path / "weights.pth"), SPACE, seed=0)(X)
        assert torch.equal(features, features_of(trained, X))

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (None, "does not exist; give the path"),
            (b"no weights", "cannot be read"),
            ([1, 2], "holds no state dict"),
            ({"features.1.weight": torch.zeros(3, 3)}, "features.1.bias is missing in the file, as are"),
            ("narrower", "features.1.weight differs in shape"),
        ],
    )
    def test_files_that_do_not_fit(self, content, sentence, tmp_path):
        path = tmp_path / "weights.pth"
        if content == "narrower":
            content = {name: value[..., :5] for name, value in build_network("mlp", SPACE, 4).state_dict().items()}
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(InvalidOptionError, match=sentence) as error:
            make_backbone("mlp", str(path), SPACE, seed=0)
        assert one_sentence(error.value)

    @pytest.mark.parametrize("backbone", ["identity", Scale(SPACE)])
    def test_where_there_is_nothing_to_load_them_into(self, backbone):
        with pytest.raises(InvalidOptionError, match="--backbone_weights is for a network given by name"):
            make_backbone(backbone, "weights.pth", SPACE, seed=0)


def test_a_network_without_a_linear_layer():
    with pytest.raises(InvalidOptionError, match="--backbone squeezenet1_1 has no linear layer") as error:
        make_backbone("squeezenet1_1", "", Box(0, 255, (3, 32, 32), np.uint8), seed=0)
    assert one_sentence(error.value)
