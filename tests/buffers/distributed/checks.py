"""Checks of draws that several workers make from what all of them store (T1 to T5 of the specification)."""

from collections import Counter
from collections.abc import Iterator
from math import comb, prod, sqrt
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from tests.buffers.distributed.recorder import CLASSES_PER_TASK, Record
from tests.buffers.statistics import ALPHA, chi_square_tail, draw_p_value

# |z| is larger with probability ALPHA.
Z_LIMIT = 3.29


class Draws(NamedTuple):
    """Draws from a union that stays as it is.

    Attributes:
        ids: Numbers of the samples that each worker drew in each step (N, T, r).
        owners: The worker that stores each sample (M,), by its number.
        labels: The class of each sample (M,).
    """

    ids: Tensor
    owners: Tensor
    labels: Tensor

    @property
    def trials(self) -> Tensor:
        """All draws (N * T, r)."""
        return self.ids.flatten(0, 1)


def is_disjoint(draws: Draws) -> bool:
    """Whether there are enough rows for all workers to draw different ones in a step."""
    world, _, r = draws.ids.shape
    return world * r <= len(draws.owners)


def joint(draws: Draws) -> Draws:
    """What all workers draw in a step, as one draw: that is what disjoint draws together are."""
    return draws._replace(ids=draws.ids.transpose(0, 1).flatten(1)[None])


def in_turns(draws: Draws) -> Draws:
    """The draw of one worker in each step, in turns: disjoint draws of one step are not independent of each other."""
    steps = torch.arange(draws.ids.shape[1])
    return draws._replace(ids=draws.ids[steps % len(draws.ids), steps][None])


def draws_of(records: list[Record], labels: Tensor, start: int) -> Draws:
    """The draws from step `start` on, from when on all samples are stored and nothing changes any more."""
    owners = torch.full((len(labels),), -1)
    for rank, record in enumerate(records):
        assert all(torch.equal(stored, record.stored[start]) for stored in record.stored[start:])
        assert (owners[record.stored[start]] == -1).all()
        owners[record.stored[start]] = rank
    assert (owners >= 0).all()
    return Draws(torch.stack([torch.stack(record.drawn[start:]) for record in records]), owners, labels)


def group_p_value(draws: Draws, groups: Tensor) -> float:
    """T1 and T2: p-value of groups (M,) of samples being drawn as often as they are stored."""
    sizes = groups.bincount()
    counts = groups[draws.trials].flatten().bincount(minlength=len(sizes))
    stored = sizes > 0
    assert not counts[~stored].any()
    return draw_p_value(counts[stored], draws.ids.shape[2], len(draws.trials), sizes[stored])


def split_p_value(draws: Draws, world: int) -> float:
    """T3: p-value of rows drawn from each worker being multivariate hypergeometric, by the frequency of every split.

    The frequencies of splits that are expected less than five times are added up.
    """
    r, sizes = draws.ids.shape[2], draws.owners.bincount(minlength=world).tolist()
    found = Counter(map(tuple, one_hot(draws.owners[draws.trials], world).sum(1).tolist()))
    n_draws, cells = len(draws.trials), []
    for split in splits(r, sizes):
        share = n_draws * prod(map(comb, sizes, split)) / comb(sum(sizes), r)
        if share >= 5:
            cells.append((found[split], share))
    rest = (n_draws - sum(n for n, _ in cells), n_draws - sum(share for _, share in cells))
    counts, expected = torch.tensor([*cells, rest] if rest[1] >= 5 else cells, dtype=torch.float64).unbind(1)
    return chi_square_tail(float(((counts - expected) ** 2 / expected).sum()), len(counts) - 1)


def splits(n: int, sizes: list[int]) -> Iterator[tuple[int, ...]]:
    """All ways to take `n` rows from groups of these sizes."""
    if not sizes:
        yield from [()] if n == 0 else []
        return
    for first in range(min(n, sizes[0]) + 1):
        yield from ((first, *others) for others in splits(n - first, sizes[1:]))


def n_unreachable(draws: Draws) -> int:
    """T4: number of samples that are never drawn."""
    return int((draws.trials.flatten().bincount(minlength=len(draws.owners)) == 0).sum())


def overlap_z_score(draws: Draws, lag: int) -> float:
    """T5: z-score of how many samples two draws share, over all pairs of workers, `lag` steps apart.

    Two independent draws of r from M share r^2 / M on average, with the variance of a hypergeometric variable. Pairs of
    independent draws are independent of each other.
    """
    world, n_steps, r = draws.ids.shape
    # How often each sample was drawn in each step (T, M).
    times = torch.zeros(n_steps, len(draws.owners))
    times.scatter_add_(1, draws.ids.transpose(0, 1).flatten(1), torch.ones(n_steps, world * r))
    if lag:
        n_pairs, shared = world**2 * (n_steps - lag), (times[lag:] * times[:-lag]).sum()
    else:
        n_pairs, shared = world * (world - 1) // 2 * n_steps, (times * (times - 1) / 2).sum()
    mean, variance = _moments_of_overlaps(draws)
    return (float(shared) - n_pairs * mean) / sqrt(n_pairs * variance)


def _moments_of_overlaps(draws: Draws) -> tuple[float, float]:
    r, n_stored = draws.ids.shape[2], len(draws.owners)
    mean = r * r / n_stored
    return mean, mean * (1 - r / n_stored) * (n_stored - r) / (n_stored - 1)


def disjoint_rejections(draws: Draws) -> dict[str, float]:
    """The same for draws of which no two in a step share a sample: each by itself, and all of a step together."""
    n_shared = sum(len(ids.unique()) < len(ids) for ids in joint(draws).ids[0])
    found = {"shared": float(n_shared)} if n_shared else {}
    if n_unreachable(draws):
        found["unreachable"] = float(n_unreachable(draws))
    alone, together = in_turns(draws), joint(draws)
    for name, groups in (
        ("samples", torch.arange(len(draws.owners))),
        ("classes", draws.labels),
        ("tasks", draws.labels // CLASSES_PER_TASK),
        ("workers", draws.owners),
    ):
        for some, which in ((alone, ""), (together, " of all")):
            p_value = group_p_value(some, groups) if some.ids.shape[2] < len(groups) else 1.0
            if p_value <= ALPHA:
                found[name + which] = p_value
    if split_p_value(alone, len(draws.ids)) <= ALPHA:
        found["splits"] = split_p_value(alone, len(draws.ids))
    # Of two draws that are all samples nothing is left to chance.
    scores = {f"overlaps at lag {lag}": overlap_z_score(together, lag) for lag in (1, 2)} if _varies(together) else {}
    return found | {name: value for name, value in scores.items() if abs(value) >= Z_LIMIT}


def _varies(draws: Draws) -> bool:
    return _moments_of_overlaps(draws)[1] > 0


def union_at(records: list[Record], step: int) -> Tensor:
    """Numbers of the samples (M,) that all workers store when those of a step are drawn."""
    return torch.cat([record.stored[step] for record in records])


def newcomer_z_score(records: list[Record]) -> float:
    """Z-score of how many of the drawn samples came in with the step before, while the union changes."""
    excess = variance = 0.0
    for step in range(1, len(records[0].drawn)):
        union = union_at(records, step)
        new = union[~torch.isin(union, union_at(records, step - 1))]
        if len(union) < 2:
            continue
        share = len(new) / len(union)
        drawn = [record.drawn[step] for record in records]
        if sum(map(len, drawn)) <= len(union):  # disjoint draws are together one draw
            drawn = [torch.cat(drawn)]
        for ids in drawn:
            r = len(ids)
            excess += float(torch.isin(ids, new).sum()) - r * share
            variance += r * share * (1 - share) * (len(union) - r) / (len(union) - 1)
    return excess / sqrt(variance)
