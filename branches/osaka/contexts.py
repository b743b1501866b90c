"""The contexts of an OSAKA stream: their switches, and the classes and samples of each visit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from redwood.settings.data.entries import Entries


@dataclass(frozen=True, eq=False)
class Visits:
    """The visits of contexts, in their order. A visit lasts from one switch to the next.

    Attributes:
        starts: First step of each visit (V,), ascending from 0.
        lengths: Steps of each visit (V,).
        domains: Domain of each visit (V,).
        classes: Classes of each visit (V, N), of the joined data set; label i stands for column i.
    """

    starts: Tensor
    lengths: Tensor
    domains: Tensor
    classes: Tensor

    def of_steps(self) -> Tensor:
        """The visit of each step (T,)."""
        return torch.arange(len(self.starts)).repeat_interleave(self.lengths)


def draw_visits(
    classes: Sequence[Tensor],
    probabilities: Sequence[float],
    *,
    steps: int,
    ways: int,
    alpha: float,
    random: torch.Generator,
) -> Visits:
    """Draw the latent contexts (Caccia et al., 2020, Algorithm 1).

    The first step begins a visit; each later one does with probability 1 - alpha. A visit draws a domain, then classes
    of it without replacement. Their order gives the labels, so labels are permuted even where a domain comes again.

    Args:
        classes: Classes (n_d,) of each domain, in the joined data set; at least `ways` each.
        probabilities: Probability of each domain.
        steps: Number of steps T, at least 1.
        ways: Classes N of a visit.
        alpha: Probability to stay in a context.
        random: Draws everything.
    """
    switches = torch.rand(steps, generator=random, dtype=torch.float64) >= alpha
    switches[0] = True
    starts = switches.nonzero().flatten()
    lengths = torch.diff(starts, append=torch.tensor([steps]))
    weights = torch.tensor(probabilities, dtype=torch.float64)
    domains = torch.multinomial(weights, len(starts), replacement=True, generator=random)
    drawn = []
    for domain in domains.tolist():
        order = torch.randperm(len(classes[domain]), generator=random)
        drawn.append(classes[domain][order[:ways]])
    return Visits(starts, lengths, domains, torch.stack(drawn))


def draw_entries(
    visits: Visits, rows_of: Mapping[int, Tensor], *, shots: int, query: int = 0, random: torch.Generator
) -> Entries:
    """The samples of all steps: `shots` of each class in random order, then `query` others of each in random order.

    A visit shows a sample again only after it has shown all others of the class.

    Args:
        visits: The visits; they are the tasks of the entries.
        rows_of: Rows of each class, at least `shots + query`.
        shots: Samples K of each class at the start of a step.
        query: Further samples of each class.
        random: Draws everything.
    """
    rows = []
    for classes, steps in zip(visits.classes.tolist(), visits.lengths.tolist(), strict=True):
        dealt = torch.stack([_deal(rows_of[label], steps, shots + query, random) for label in classes], dim=1)
        parts = [_mixed(part.flatten(1), random) for part in (dealt[:, :, :shots], dealt[:, :, shots:])]
        rows.append(torch.cat(parts, dim=1).flatten())
    return Entries(torch.cat(rows), torch.arange(len(rows)).repeat_interleave(torch.tensor(list(map(len, rows)))))


def _deal(rows: Tensor, steps: int, count: int, random: torch.Generator) -> Tensor:
    """`count` different rows for each step (steps, count); the rows are shuffled anew once they have been dealt."""
    rounds = len(rows) // count
    dealt = [rows[torch.randperm(len(rows), generator=random)[: rounds * count]] for _ in range(-(-steps // rounds))]
    return torch.cat(dealt).view(-1, count)[:steps]


def _mixed(rows: Tensor, random: torch.Generator) -> Tensor:
    """Each line of rows (steps, n) in a random order: the place of a sample must not tell its class."""
    return rows.gather(1, torch.rand(rows.shape, generator=random).argsort(1))
