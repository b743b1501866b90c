"""The reduced ResNet-18 of continual learning (Lopez-Paz & Ranzato 2017, "Gradient Episodic Memory", section 5)."""

from collections import OrderedDict

from gymnasium.spaces import Box
from torch import Tensor, nn

from redwood.methods.networks.check import image_shape
from redwood.methods.networks.scale import Scale

STAGES = (20, 40, 80, 160)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016, figure 2)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        """Make the block; the shortcut is a 1 x 1 convolution where the shape changes.

        Args:
            n_in: Channels of the input.
            n_out: Channels of the output.
            stride: Step of the first convolution, by which height and width shrink.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_in, H, W) to (B, n_out, ceil(H / stride), ceil(W / stride))."""
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        activated: Tensor = self.relu2(out + self.shortcut(x))
        return activated


def slim_resnet18(observation_space: Box, n_outputs: int) -> nn.Sequential:
    """Return `scale`, `features` and a linear `head`: a ResNet-18 with a third of the filters, made for small images.

    The stem is one 3 x 3 convolution without max pooling; the stages have 20, 40, 80 and 160 filters. For 10 outputs
    of colour images it has 1,094,750 parameters.

    Args:
        observation_space: Space of one image (C, H, W).
        n_outputs: Number of scores.

    Returns:
        A module that maps (B, C, H, W) to (B, n_outputs).

    Raises:
        InvalidOptionError: If the observations are no images.
    """
    channels, _, _ = image_shape("slim_resnet18", observation_space)
    n_in = STAGES[0]
    layers: list[nn.Module] = [
        nn.Conv2d(channels, n_in, 3, padding=1, bias=False),
        nn.BatchNorm2d(n_in),
        nn.ReLU(),
    ]
    for n_out in STAGES:
        stride = 1 if n_out == STAGES[0] else 2
        layers += [BasicBlock(n_in, n_out, stride), BasicBlock(n_out, n_out, 1)]
        n_in = n_out
    features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = nn.Linear(n_in, n_outputs)
    return nn.Sequential(OrderedDict(scale=Scale(observation_space), features=features, head=head))
