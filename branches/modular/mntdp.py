"""Modular networks with a task-driven prior (Veniat, Denoyer & Ranzato, 2021).

"Efficient Continual Learning with Modular Networks and Task-Driven Priors", ICLR.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

from typing_extensions import override

from redwood.branches.modular.modular_network import Candidate
from redwood.branches.modular.selection import HeldOutScores, deepest_reuse
from redwood.branches.modular.sources import Source
from redwood.branches.modular.stochastic_search import StochasticSearch
from redwood.branches.modular.task import PhaseClasses, TaskSamples
from redwood.core.checks import check_choice, check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.workers import rank
from redwood.settings.supervised import SupervisedSetting

SEARCHES = ("deterministic", "stochastic")


@dataclass
class MNTDP(StochasticSearch):
    """Take over the first modules of the most related network, and train new ones behind them; a search says how many.

    The deterministic search trains a candidate for each number k of modules taken over, from none up to all (figure 2),
    side by side. It keeps the one with the largest k that held-out samples show to be no worse than new modules.
    The stochastic search draws one path a step, and learns which to draw from its error on held-out samples.

    The modules that are taken over stay as they are. Only new ones are added, so that memory grows where it has to, and
    nothing is forgotten.
    """

    search: str = "deterministic"  # deterministic: train all candidates; stochastic: draw one path a step
    confidence: float = 0.9  # share of bootstrap draws in which the error of reuse has to stay within --margin

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "search", SEARCHES)
        check_range(self, "margin", 0, 1)
        check_range(self, "confidence", 0, 1)
        if self.search == "stochastic" and self.tries > 1:
            raise InvalidOptionError(
                f"--tries {self.tries} has no effect with --search stochastic, which draws paths of one network; "
                "leave it out."
            )

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        if self.n_modules == 1 and rank() == 0:
            warnings.warn(
                f"--model {self.model_name()} cannot be cut into modules, so it is taken over whole or not at all; "
                "choose a chain of parts, such as mlp, simple_cnn or slim_resnet18.",
                stacklevel=2,
            )

    @override
    def propose(self, samples: TaskSamples, classes: PhaseClasses) -> list[Candidate]:
        sources = self.most_related(samples, classes, competitor=False, n=self.n_sources)
        if self.search == "stochastic" and sources and len(sources[0].modules) > 1 and samples.n_held_out:
            return self.explore(sources, classes)
        reusing = [prefixes(source, with_head=self.fits_head(source, classes)) for source in sources]
        return [Candidate(), *chain.from_iterable(reusing)]

    @override
    def choose(self, candidates: Sequence[Candidate], scores: HeldOutScores) -> int:
        reused = [len(one.frozen) for one in candidates]
        return deepest_reuse(scores.errors, reused, self.margin, self.confidence, self.setting.seed)

    @override
    def never_acted(self) -> str | None:
        if not any(path["reused"] for path in self.paths):
            return "No module was reused: each task has a network of its own. Its tasks may not be related."
        return super().never_acted()


@dataclass
class Composable(MNTDP):
    """Draw the modules of each depth from several related networks, or new ones, by the stochastic search.

    The modules of one path may so come from several earlier networks: a composable mixture, gated by the task.
    """

    n_sources: ClassVar[int] = 2

    search: str = "stochastic"  # stochastic alone: there are too many mixed paths to train all

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.search != "stochastic":
            raise InvalidOptionError(
                f"--search {self.search} trains all candidates, and paths of several networks are too many for that; "
                "use --search stochastic."
            )


def prefixes(source: Source, *, with_head: bool) -> list[Candidate]:
    """A candidate for each number of modules that are taken over from a network, the head only if it fits."""
    most = len(source.modules) - (not with_head)
    return [Candidate(frozen=source.modules[:k], origin=source.name) for k in range(1, most + 1)]
