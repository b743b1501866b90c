"""Noise on the actions of an off-policy agent, which makes a deterministic policy explore."""

from collections.abc import Sequence

import numpy as np
import torch
from stable_baselines3.common.noise import (
    ActionNoise,
    NormalActionNoise,
    OrnsteinUhlenbeckActionNoise,
    VectorizedActionNoise,
)
from torch import Tensor


def make_noise(kind: str, std: float, size: int) -> ActionNoise:
    """Make the noise that is added to actions, which are scaled to -1..1.

    Args:
        kind: `normal`, drawn anew for each step; or `ou`, the process of G. Uhlenbeck and L. Ornstein, 1930, which
            T. Lillicrap et al. (Continuous control with deep reinforcement learning, ICLR 2016) start anew with each
            episode.
        std: Standard deviation of each entry; of `ou`, the deviation sigma in sqrt(dt) * sigma * N(0, 1), with the
            library's theta = 0.15 and dt = 0.01.
        size: Entries of an action.
    """
    mean, deviation = np.zeros(size), np.full(size, std)
    return NormalActionNoise(mean, deviation) if kind == "normal" else OrnsteinUhlenbeckActionNoise(mean, deviation)


def noise_state(noise: ActionNoise | None) -> list[Tensor]:
    """Return the present value of each process, one for each environment; nothing for noise that keeps none."""
    return [torch.from_numpy(np.copy(process.noise_prev)) for process in _processes(noise)]


def load_noise_state(noise: ActionNoise | None, values: Sequence[Tensor]) -> None:
    """Continue each process from an earlier value.

    Raises:
        ValueError: If they are values of other processes.
    """
    processes = _processes(noise)
    arrays = [value.numpy() for value in values]
    if [array.shape for array in arrays] != [process.noise_prev.shape for process in processes]:
        raise ValueError("its noise on actions is another one")
    for process, array in zip(processes, arrays, strict=True):
        process.noise_prev = array.copy()


def _processes(noise: ActionNoise | None) -> list[OrnsteinUhlenbeckActionNoise]:
    noises = noise.noises if isinstance(noise, VectorizedActionNoise) else [noise]
    return [process for process in noises if isinstance(process, OrnsteinUhlenbeckActionNoise)]
