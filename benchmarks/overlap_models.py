"""What `overlap.py` trains: two small networks, and a stand-in for a GPU, which leaves the processor idle."""

import time

import torch
from torch import Tensor, nn

CLASSES = 20
SMALL, LARGE = (3, 32, 32), (3, 224, 224)


class Cnn(nn.Module):
    """Two convolutions on images 3x32x32, bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 48, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.MaxPool2d(4), nn.Flatten(), nn.Linear(48 * 16, CLASSES)),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Scores (n, CLASSES) of images (n, 3, 32, 32)."""
        scores: Tensor = self.layers(images.float() / 255)
        return scores


class Mlp(nn.Module):
    """One hidden layer on images 3x32x32, bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 512), nn.ReLU(), nn.Linear(512, CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Scores (n, CLASSES) of images (n, 3, 32, 32)."""
        scores: Tensor = self.layers(images.float() / 255)
        return scores


class IdleHost(nn.Module):
    """Stands for a GPU: the forward pass sleeps for a time per sample, and the processor is free meanwhile."""

    def __init__(self, seconds_per_sample: float) -> None:
        super().__init__()
        self.seconds = seconds_per_sample
        self.scores = nn.Parameter(torch.zeros(CLASSES))

    def forward(self, *images: Tensor) -> Tensor:
        """The same scores (n, CLASSES) for all images, in one batch (n, ...) or several."""
        n = sum(map(len, images))
        if self.seconds:
            time.sleep(self.seconds * n)
        return self.scores.expand(n, CLASSES)


def build(model: str, seconds_per_sample: float) -> nn.Module:
    """A model by name."""
    torch.manual_seed(0)
    if model == "idle host":
        return IdleHost(seconds_per_sample)
    return {"CNN": Cnn, "MLP": Mlp}[model]()
