"""The classification models of torchvision, untrained, by their torchvision names."""

from collections import OrderedDict

from gymnasium.spaces import Box
from torch import Tensor, nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks.builtin import Scale
from redwood.methods.networks.check import check_scores, image_shape

# These two return a tuple with the scores of auxiliary heads in training, unless told not to.
_OPTIONS: dict[str, dict[str, bool]] = {
    name: {"aux_logits": False, "init_weights": True} for name in ("googlenet", "inception_v3")
}


class ToThreeChannels(nn.Module):
    """Show a one-channel image in all three colour channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1, H, W) to (B, 3, H, W) without a copy."""
        return x.expand(-1, 3, -1, -1)


def classification_models() -> list[str]:
    """Return the names of torchvision's classification models."""
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


def torchvision_model(name: str, observation_space: Box, n_outputs: int) -> nn.Sequential:
    """Return `scale` and `model`, with `to_three_channels` between them for one-channel images.

    Args:
        name: One of `classification_models()`.
        observation_space: Space of one image (C, H, W) with one or three channels.
        n_outputs: Number of scores.

    Returns:
        A module that maps (B, C, H, W) to (B, n_outputs), with torchvision's initial weights.

    Raises:
        InvalidOptionError: If the model cannot take such observations; many need larger images.
    """
    from torchvision import models

    channels, _, _ = image_shape(name, observation_space)
    if channels not in (1, 3):
        raise InvalidOptionError(
            f"The network {name} needs images with 1 or 3 channels, got samples {observation_space.shape}; "
            "choose slim_resnet18 or simple_cnn."
        )
    parts: OrderedDict[str, nn.Module] = OrderedDict(scale=Scale(observation_space))
    if channels == 1:
        parts["to_three_channels"] = ToThreeChannels()
    parts["model"] = models.get_model(name, weights=None, num_classes=n_outputs, **_OPTIONS.get(name, {}))
    network = nn.Sequential(parts)
    check_scores(network, observation_space, n_outputs, name=f"The network {name}")
    return network
