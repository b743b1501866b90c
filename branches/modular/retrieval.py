"""Retrieval of the earlier networks to which a new task is most related: nearest neighbours vote on their features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from redwood.branches.modular.path_store import PathStore
from redwood.branches.modular.sources import Source, distance, statistics_of
from redwood.branches.modular.task import PhaseClasses, TaskSamples
from redwood.core.checks import check_range
from redwood.core.workers import gather_objects
from redwood.methods.networks.last_layer import CHUNK
from redwood.methods.training.flops import FlopMeter

# Samples that retrieval looks at: Veniat et al. (2021) use as many.
MOST_SAMPLES = 1000


@torch.no_grad()
def neighbour_accuracy(features: Tensor, y: Tensor, k: int) -> float:
    """The accuracy of k nearest neighbours on features, each sample left out once.

    Args:
        features: Features (n, d) of a network before its last layer.
        y: Labels (n,), integers from 0.
        k: Neighbours that vote; of equal votes, the nearer neighbours' label wins.

    Returns:
        Share of the samples whose label the others predict; 0 for less than two samples.
    """
    n = len(y)
    if n < 2:
        return 0.0
    # Centred, since the squares of large means would drown the differences.
    centred = (features - features.mean(0)).float()
    squares = centred.square().sum(1)
    distances = squares[:, None] + squares[None] - 2 * centred @ centred.T
    distances.fill_diagonal_(torch.inf)
    nearest = distances.topk(min(k, n - 1), largest=False).indices
    votes = F.one_hot(y[nearest], int(y.max()) + 1).double()
    # Less than a vote in sum, and more for nearer neighbours.
    nearness = torch.arange(nearest.shape[1], 0, -1, device=y.device, dtype=torch.float64)
    votes = (votes * (1 + nearness[:, None] / (2 * nearness.sum()) * 1e-3)).sum(1)
    return float((votes.argmax(1) == y).double().mean())


@dataclass
class RetrievalOptions:
    """Options of methods that build on the most related earlier networks."""

    neighbours: int = 5  # nearest neighbours that vote on which network is related to a task
    retrieve: int = 0  # networks that retrieval considers: those with the most similar inputs (0: all)

    def check_retrieval_options(self) -> None:
        """Raise `InvalidOptionError` if one is out of range."""
        check_range(self, "neighbours", 1)
        check_range(self, "retrieve", 0)


@dataclass
class Retrieval:
    """Ranks the networks that were learned before by how related they are to a task.

    Attributes:
        store: Knows these networks.
        build: Makes the modules of a new network with so many outputs.
        flops: Counts the computations.
        neighbours: Nearest neighbours that vote.
        most_similar: Look at so many networks only: those with the most similar inputs (0: all).
    """

    store: PathStore
    build: Callable[[int], Sequence[nn.Module]]
    flops: FlopMeter
    neighbours: int
    most_similar: int

    def most_related(self, samples: TaskSamples, classes: PhaseClasses, *, competitor: bool, n: int) -> list[Source]:
        """The sources whose features tell the classes of a task apart best, by nearest neighbours.

        Args:
            samples: Of the task; up to `MOST_SAMPLES` of them are used.
            classes: Its classes.
            competitor: Whether a network with new weights takes part, which ends the list (Bornschein et al., 2023).
            n: Number of sources wanted.

        Returns:
            Up to `n` sources, the best first. Of equal ones the older comes first.
        """
        sources = self._similar(samples)
        if not sources:
            return []
        x = torch.cat([samples.training.x, samples.held_out.x])[:MOST_SAMPLES]
        y = classes.local(torch.cat([samples.training.y, samples.held_out.y])[:MOST_SAMPLES])
        with self.flops.count("selection"):
            accuracy = {
                number: self._related(self.store.modules_of(source), x, y) for number, source in enumerate(sources)
            }
            if competitor:
                accuracy[-1] = self._related(self.build(len(classes.labels)), x, y)
        ranked = sorted(accuracy, key=lambda number: (-accuracy[number], number))
        end = ranked.index(-1) if competitor else len(ranked)
        return [sources[number] for number in ranked[:end][:n]]

    def _similar(self, samples: TaskSamples) -> list[Source]:
        sources, wanted = self.store.sources(), self.most_similar
        if not wanted or len(sources) <= wanted:
            return sources
        own = statistics_of(samples.training.x)
        near = sorted(range(len(sources)), key=lambda number: distance(own, sources[number].statistics))
        return [sources[number] for number in sorted(near[:wanted])]

    @torch.no_grad()
    def _related(self, modules: Sequence[nn.Module], x: Tensor, y: Tensor) -> float:
        """Accuracy of nearest neighbours on the features before the last layer, a mean over the workers."""
        body = nn.Sequential(*(modules[:-1] if len(modules) > 1 else modules)).eval()
        features = torch.cat([body(chunk).flatten(1) for chunk in x.split(CHUNK)])
        shares = gather_objects((neighbour_accuracy(features, y, self.neighbours) * len(y), len(y)))
        return sum(right for right, _ in shares) / max(sum(n for _, n in shares), 1)
