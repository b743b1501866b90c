"""Modular networks with a task-driven prior (Veniat, Denoyer & Ranzato, 2021).

"Efficient Continual Learning with Modular Networks and Task-Driven Priors", ICLR.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from typing_extensions import override

from redwood.branches.modular.modular_network import Candidate
from redwood.branches.modular.path_search import PathSearch
from redwood.branches.modular.retrieval import Retrieval, RetrievalOptions
from redwood.branches.modular.selection import HeldOutScores, deepest_reuse
from redwood.branches.modular.sources import Source
from redwood.branches.modular.task import PhaseClasses, TaskSamples
from redwood.core.checks import check_choice, check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.user_warnings import warn
from redwood.core.workers import rank
from redwood.settings.supervised import SupervisedSetting

SEARCHES = ("deterministic", "stochastic")
# Networks that the modules of one path of `composable` may come from.
N_SOURCES = 2
NOT_REUSED = "No module was reused: each task has a network of its own. Its tasks may not be related."


@dataclass
class ReuseOptions(RetrievalOptions):
    """Options of methods that take over modules as long as these do no worse than new ones."""

    margin: float = 0.03  # largest rise of the expected error at which earlier modules are reused
    confidence: float = 0.9  # share of bootstrap draws in which the error of reuse has to stay within --margin

    def check_reuse_options(self) -> None:
        """Raise `InvalidOptionError` if one is out of range."""
        self.check_retrieval_options()
        check_range(self, "margin", 0, 1)
        check_range(self, "confidence", 0, 1)

    def deepest(self, candidates: Sequence[Candidate], scores: HeldOutScores, seed: int) -> int:
        """The number of the candidate that takes over the most modules and does no worse; see `deepest_reuse`."""
        reused = [len(one.frozen) for one in candidates]
        return deepest_reuse(scores.errors, reused, self.margin, self.confidence, seed)


@dataclass
class MNTDP(ReuseOptions, PathSearch):
    """Take over the first modules of the most related network, and train new ones behind them; a search says how many.

    The deterministic search trains a candidate for each number k of modules taken over, from none up to all (figure 2),
    side by side. It keeps the one with the largest k that held-out samples show to be no worse than new modules.
    The stochastic search draws one path a step, and learns which to draw from its error on held-out samples.

    The modules that are taken over stay as they are. Only new ones are added, so that memory grows where it has to, and
    nothing is forgotten.
    """

    search: str = "deterministic"  # deterministic: train all candidates; stochastic: draw one path a step

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_reuse_options()
        check_choice(self, "search", SEARCHES)
        if self.search == "stochastic" and self.tries > 1:
            raise InvalidOptionError(
                f"--tries {self.tries} has no effect with --search stochastic, which draws paths of one network; "
                "leave it out."
            )

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.retrieval = Retrieval(self.store, self.new_modules, self.flops, self.neighbours, self.retrieve)
        warn_of_whole_networks(self)

    @override
    def propose(self, samples: TaskSamples, classes: PhaseClasses) -> list[Candidate]:
        sources = self.retrieval.most_related(samples, classes, competitor=False, n=1)
        return candidates_of(self, sources, samples, classes, draws=self.search == "stochastic")

    @override
    def choose(self, candidates: Sequence[Candidate], scores: HeldOutScores) -> int:
        return self.deepest(candidates, scores, self.setting.seed)

    @override
    def never_acted(self) -> str | None:
        return super().never_acted() if any(path["reused"] for path in self.paths) else NOT_REUSED


@dataclass
class Composable(ReuseOptions, PathSearch):
    """Draw the modules of each depth from several related networks, or new ones, by the stochastic search of `mntdp`.

    The modules of one path may so come from several earlier networks: a composable mixture, gated by the task.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_reuse_options()
        if self.tries > 1:
            raise InvalidOptionError(
                f"--tries {self.tries} does not go with composable, which draws paths of one network; leave it out."
            )

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.retrieval = Retrieval(self.store, self.new_modules, self.flops, self.neighbours, self.retrieve)
        warn_of_whole_networks(self)

    @override
    def propose(self, samples: TaskSamples, classes: PhaseClasses) -> list[Candidate]:
        sources = self.retrieval.most_related(samples, classes, competitor=False, n=N_SOURCES)
        return candidates_of(self, sources, samples, classes, draws=True)

    @override
    def choose(self, candidates: Sequence[Candidate], scores: HeldOutScores) -> int:
        return self.deepest(candidates, scores, self.setting.seed)

    @override
    def never_acted(self) -> str | None:
        return super().never_acted() if any(path["reused"] for path in self.paths) else NOT_REUSED


def candidates_of(
    method: MNTDP | Composable,
    sources: Sequence[Source],
    samples: TaskSamples,
    classes: PhaseClasses,
    *,
    draws: bool,
) -> list[Candidate]:
    """A candidate of new modules, and those that take over modules of the sources; with `draws` paths are drawn."""
    if draws and sources and len(sources[0].modules) > 1 and samples.n_held_out:
        return method.explore(sources, classes, method.margin)
    reusing = [prefixes(source, with_head=method.fits_head(source, classes)) for source in sources]
    return [Candidate(), *chain.from_iterable(reusing)]


def warn_of_whole_networks(method: PathSearch) -> None:
    """Warn of a network that cannot be cut into modules."""
    if method.n_modules == 1 and rank() == 0:
        warn(
            f"--model {method.model_name()} cannot be cut into modules, so it is taken over whole or not at all; "
            "choose a chain of parts, such as mlp, simple_cnn or slim_resnet18."
        )


def prefixes(source: Source, *, with_head: bool) -> list[Candidate]:
    """A candidate for each number of modules that are taken over from a network, the head only if it fits."""
    most = len(source.modules) - (not with_head)
    return [Candidate(frozen=source.modules[:k], origin=source.name) for k in range(1, most + 1)]
