"""Retrieval of the earlier networks to which a new task is most related."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from redwood.branches.modular.path_search import PathSearch
from redwood.branches.modular.retrieval import MOST_SAMPLES, neighbour_accuracy
from redwood.branches.modular.sources import Source, distance, statistics_of
from redwood.branches.modular.task import PhaseClasses, TaskSamples
from redwood.core.checks import check_range
from redwood.core.workers import gather_objects
from redwood.methods.networks.last_layer import CHUNK


@dataclass
class RelatedSearch(PathSearch):
    """A search that builds on the networks that are most related to a task."""

    neighbours: int = 5  # nearest neighbours that vote on which network is related to a task
    retrieve: int = 0  # networks that retrieval considers: those with the most similar inputs (0: all)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "neighbours", 1)
        check_range(self, "retrieve", 0)

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
            accuracy = {number: self._related(self.modules_of(source), x, y) for number, source in enumerate(sources)}
            if competitor:
                accuracy[-1] = self._related(self.new_modules(len(classes.labels)), x, y)
        ranked = sorted(accuracy, key=lambda number: (-accuracy[number], number))
        end = ranked.index(-1) if competitor else len(ranked)
        return [sources[number] for number in ranked[:end][:n]]

    def _similar(self, samples: TaskSamples) -> list[Source]:
        sources, wanted = self.sources(), self.retrieve
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
