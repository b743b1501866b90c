"""Fine-tuning from an earlier network (Bornschein et al., 2023, "NEVIS'22: A Stream of 100 Tasks", section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from redwood.branches.modular.modular_network import Candidate
from redwood.branches.modular.path_search import PathSearch
from redwood.branches.modular.retrieval import Retrieval, RetrievalOptions
from redwood.branches.modular.selection import HeldOutScores, highest_accuracy
from redwood.branches.modular.sources import Source
from redwood.branches.modular.task import PhaseClasses, TaskSamples
from redwood.core.checks import check_choice
from redwood.settings.supervised import SupervisedSetting

SOURCES = ("independent", "previous", "relevant", "all")


@dataclass
class Independent(PathSearch):
    """Train a network with new weights for each task: what transfer between tasks is measured against."""

    @override
    def propose(self, samples: TaskSamples, classes: PhaseClasses) -> list[Candidate]:
        return [Candidate()]

    @override
    def choose(self, candidates: Sequence[Candidate], scores: HeldOutScores) -> int:
        return highest_accuracy(scores)


@dataclass
class FinetuneFrom(RetrievalOptions, PathSearch):
    """Train a network for each task, from the weights of an earlier one, with a new last layer.

    `--source` says from which one: `independent` starts from new weights, and `previous` from the network of the task
    before. `relevant` takes the network whose features tell the classes of the task apart best, by nearest neighbours;
    a network with new weights competes (the paper's FT-d). `all` fine-tunes from every network, and from new weights.

    Every task keeps a network of its own, so nothing is forgotten, and the memory grows with each task.
    """

    source: str = "relevant"  # network that a task starts from: independent, previous, relevant or all

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_retrieval_options()
        check_choice(self, "source", SOURCES)

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.retrieval = Retrieval(self.store, self.new_modules, self.flops, self.neighbours, self.retrieve)

    @override
    def propose(self, samples: TaskSamples, classes: PhaseClasses) -> list[Candidate]:
        new, sources = Candidate(), self.store.sources()
        if self.source == "independent" or not sources:
            return [new]
        if self.source == "relevant":
            related = self.retrieval.most_related(samples, classes, competitor=True, n=1)
            return [_started_from(source) for source in related] or [new]
        if self.source == "previous":
            return [_started_from(sources[-1])]
        return [new, *map(_started_from, sources)]

    @override
    def choose(self, candidates: Sequence[Candidate], scores: HeldOutScores) -> int:
        return highest_accuracy(scores)

    @override
    def never_acted(self) -> str | None:
        if self.source != "independent" and not any(path["origin"] for path in self.paths):
            return "No task started from an earlier network: there was none, or new weights competed better."
        return super().never_acted()


def _started_from(source: Source) -> Candidate:
    return Candidate(copied=source.modules, origin=source.name)
