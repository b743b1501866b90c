import numpy as np
from gymnasium.spaces import Box


def images(*shape: int) -> Box:
    """Space of images (C, H, W) in bytes."""
    return Box(0, 255, shape, np.uint8)


def vectors(n: int) -> Box:
    """Space of unbounded feature vectors."""
    return Box(-np.inf, np.inf, (n,), np.float32)
