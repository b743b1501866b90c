"""The stochastic search for a path: each step draws how many modules are taken over, and held-out samples reward it.

Candidates of new modules share these, so that a search costs little more than training two networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from redwood.branches.modular.modular_network import Candidate
from redwood.branches.modular.path_policy import PathPolicy
from redwood.branches.modular.related_search import RelatedSearch
from redwood.branches.modular.sources import Source
from redwood.branches.modular.task import PhaseClasses, select
from redwood.core.seeding import derive_seed, generator
from redwood.core.workers import sum_over_workers
from redwood.methods.training.layers import evaluating
from redwood.methods.training.step import Step
from redwood.settings.batch import Batch
from redwood.settings.supervised import SupervisedSetting

# Share of a task's steps, from the first on, in which the policy does not learn. Hardly trained modules would lose
# against those that are taken over.
WARM_UP = 0.3
# Share of the steps in which paths are drawn. Then one is chosen, and trained alone.
EXPLORING = 0.5
# Held-out samples that a reward is measured on.
REWARD_SAMPLES = 32
# The numbers of the candidate that consists of new modules, and of the one whose paths are drawn.
NEW, DRAWN = 0, 1


@dataclass
class StochasticSearch(RelatedSearch):
    """A search that may draw the modules of related networks that a path takes over, instead of training all paths.

    `explore` begins such a search for a phase; without it, this class changes nothing. A network of new modules is
    trained beside the drawn paths, so that reuse has a fair competitor.

    Attributes:
        n_sources: Number of networks that the modules of a path may come from.
        margin: By how much the expected error may be larger for modules to be taken over.
        choices: The modules that may be taken over at each depth, one of each source; empty: no search.
        found: The modules that the drawn candidate takes over, once that is decided.
        steps: Training steps of this phase.
    """

    n_sources: ClassVar[int] = 1

    margin: float = 0.03  # largest rise of the expected error at which earlier modules are reused

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.choices: list[list[str]] = self.add_state("choices", [])
        self.origins: list[str] = self.add_state("origins", [])  # names of the networks that the choices are of
        self.policy = self.add_state("policy", PathPolicy([], 0))
        self.found: list[str] = self.add_state("found", [])
        self.steps = self.add_state("steps", 0)

    def explore(self, sources: Sequence[Source], classes: PhaseClasses) -> list[Candidate]:
        """Begin to search among the modules of some networks.

        Returns:
            A candidate of new modules, and one that stands for all paths that take over a first module.
        """
        self.origins = [source.name for source in sources]
        self.choices = [list(names) for names in zip(*(source.modules for source in sources), strict=True)]
        self.fetch({name for names in self.choices for name in names})
        fits = [[True] * len(sources) for _ in self.choices]
        fits[-1] = [self.fits_head(source, classes) for source in sources]
        self.policy = PathPolicy(fits, derive_seed(self.setting.seed, "paths", self.n_networks))
        self.found, self.steps = [], 0
        return [Candidate(), Candidate(frozen=sources[0].modules[:1], origin=sources[0].name)]

    @property
    def _is_exploring(self) -> bool:
        return self.steps < EXPLORING * self.phase.steps

    def _path(self) -> tuple[str, ...]:
        """Return the modules that this step's drawn path takes over; after the decision, those of the chosen path."""
        if not self._is_exploring:
            return tuple(self.found)
        # A whole network that is taken over has nothing to train.
        return self._names(self.policy.sample(self.steps))[: len(self.choices) - 1]

    def _names(self, chosen: Sequence[int]) -> tuple[str, ...]:
        return tuple(names[number] for names, number in zip(self.choices, chosen, strict=False))

    def _tail(self, depth: int) -> list[nn.Module]:
        """The new modules of the drawn candidate behind so many that are taken over."""
        return self.modular.tail(DRAWN)[depth - 1 :]

    def _drawn_losses(self, batch: Batch, frozen: Sequence[str]) -> Tensor:
        outputs = self.modular.path(batch.x, frozen, self._tail(len(frozen)))
        return self.classes.losses(self.classes.pick(outputs), batch)

    @override
    def candidate_losses(self, batch: Batch) -> Tensor:
        if not self.choices:
            return super().candidate_losses(batch)
        frozen = self._path()
        for n in (len(batch.y), len(frozen)):  # what a step costs
            self.flops.note(n)
        outputs = self.classes.pick(self.modular.path(batch.x, (), self.modular.tail(NEW)))
        return torch.stack([self.classes.losses(outputs, batch).mean(), self._drawn_losses(batch, frozen).mean()])

    @override
    def on_batch_end(self, step: Step, loss: Tensor, batch_idx: int) -> None:
        super().on_batch_end(step, loss, batch_idx)
        if not self.choices:
            return
        if self._is_exploring and self.steps >= WARM_UP * self.phase.steps:
            self._reward()
        explored, self.steps = self._is_exploring, self.steps + 1
        if explored and not self._is_exploring:
            self.found = self._decide()

    @torch.no_grad()
    def _reward(self) -> None:
        """Tell the policy how well a path that it draws does on held-out samples of all workers."""
        held_out = self.samples.held_out
        order = torch.randperm(len(held_out.y), generator=generator(self.setting.seed, "reward", self.steps))
        batch = select(held_out, order[:REWARD_SAMPLES].to(self.device))
        chosen = self.policy.sample()
        frozen = self._names(chosen)
        with evaluating(self.modular.tails), self.flops.count_once("search", (len(batch.y), len(frozen))):
            errors = 1 - (-self._drawn_losses(batch, frozen)).exp()
        total, n = sum_over_workers(torch.tensor([float(errors.sum()), float(len(errors))])).tolist()
        self.policy.reward(chosen, -total / max(n, 1.0))

    def _decide(self) -> list[str]:
        """Return the first modules that the policy prefers, to take over: as many as do as well as the best."""
        names = self._names(self.policy.mode())
        paths = [names[: depth + 1] for depth in range(len(names))]
        prefixes, tails = self.modular.prefixes, self.modular.tails
        self.modular.start(paths, [self._tail(len(path)) for path in paths])
        with self.flops.count("validation"):
            errors = self.held_out_scores(range(len(paths))).errors.mean(1)
        self.modular.prefixes, self.modular.tails = prefixes, tails
        return list(paths[int((errors <= errors.min() + self.margin).nonzero().max())])

    @override
    def answer_in_training(self, x: Tensor) -> Tensor:
        if not self.choices or int(self.running.argmin()) == NEW:
            return super().answer_in_training(x)
        frozen = self._path()
        for n in (len(x), len(frozen)):
            self.flops.note(n)
        return self.modular.path(x, frozen, self._tail(len(frozen)))

    @override
    def keep_best(self, before: dict[str, float]) -> None:
        if self.choices:
            origin = self.origins[self.choices[0].index(self.found[0])]
            drawn = Candidate(frozen=tuple(self.found), origin=origin)
            self.set_candidates([Candidate(), drawn], [self.modular.tail(NEW), self._tail(len(self.found))])
            self.choices = []
        super().keep_best(before)

    @property
    @override
    def may_skip_parameters(self) -> bool:
        return bool(self.choices)
