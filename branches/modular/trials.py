"""Trials: hyper-parameters that each candidate of a search is trained with (Bornschein et al., 2023, section 4)."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from redwood.branches.modular.modular_network import Candidate
from redwood.branches.modular.selection import HeldOutScores
from redwood.core.seeding import generator

# Trials but the first draw from these ranges.
LR_RANGE = (1e-4, 1e-1)
SMOOTHING_RANGE = (0.0, 0.3)


def trial_options(trial: int, lr: float, seed: int) -> tuple[float, float]:
    """Learning rate and label smoothing of a trial; the first one has the learning rate `lr` and no smoothing."""
    if trial == 0:
        return lr, 0.0
    drawn = torch.rand(2, generator=generator(seed, "trial", trial)).tolist()
    low, high = LR_RANGE
    return low * (high / low) ** drawn[0], SMOOTHING_RANGE[0] + drawn[1] * (SMOOTHING_RANGE[1] - SMOOTHING_RANGE[0])


def best_trials(candidates: Sequence[Candidate], scores: HeldOutScores) -> list[int]:
    """For each candidate the number of its best trial: the highest accuracy, and of equal ones the lowest loss."""
    best: dict[Candidate, int] = {}
    order = sorted(range(len(candidates)), key=lambda i: (-float(scores.accuracy[i]), float(scores.losses[i].mean())))
    for number in order:
        best.setdefault(replace(candidates[number], trial=0), number)
    return [best[one] for one in dict.fromkeys(replace(one, trial=0) for one in candidates)]


def accuracy_of_trials(candidates: Sequence[Candidate], scores: HeldOutScores, trials: int) -> list[float]:
    """The accuracy of the best candidate of each trial."""
    accuracy = [0.0] * trials
    for one, value in zip(candidates, scores.accuracy.tolist(), strict=True):
        accuracy[one.trial] = max(accuracy[one.trial], value)
    return accuracy
