"""The stochastic search for a path: each step draws how many modules are taken over, and held-out samples reward it.

Candidates of new modules share these, so that a search costs little more than training two networks.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from redwood.branches.modular.modular_network import Candidate, ModularNetwork
from redwood.branches.modular.path_policy import PathPolicy
from redwood.branches.modular.selection import HeldOutScores
from redwood.branches.modular.sources import Source
from redwood.branches.modular.task import PhaseClasses, select
from redwood.core.seeding import derive_seed, generator
from redwood.core.state import Stateful
from redwood.core.workers import sum_over_workers
from redwood.methods.training.flops import FlopMeter
from redwood.methods.training.layers import evaluating
from redwood.settings.batch import Batch

# Share of a task's steps, from the first on, in which the policy does not learn. Hardly trained modules would lose
# against those that are taken over.
WARM_UP = 0.3
# Share of the steps in which paths are drawn. Then one is chosen, and trained alone.
EXPLORING = 0.5
# Held-out samples that a reward is measured on.
REWARD_SAMPLES = 32
# The numbers of the candidate that consists of new modules, and of the one whose paths are drawn.
NEW, DRAWN = 0, 1


class Exploration(Stateful):
    """Draws the modules of earlier networks that a path takes over, instead of training all paths.

    `begin` starts it for a phase. A network of new modules is trained beside the drawn paths, so that reuse has a fair
    competitor.

    Attributes:
        choices: The modules that may be taken over at each depth, one of each source; empty: no search.
        origins: Names of the networks that the choices are of.
        found: The modules that the drawn candidate takes over, once that is decided.
        steps: Training steps of this phase.
        margin: By how much the expected error may be larger for modules to be taken over.
        steps_in_phase: Training steps of the whole phase.
    """

    def __init__(self, network: ModularNetwork, flops: FlopMeter, seed: int) -> None:
        """Search nothing yet.

        Args:
            network: Holds the modules and the two candidates.
            flops: Counts the computations of rewards and of the decision.
            seed: Of all draws.
        """
        self._network, self._flops, self._seed = network, flops, seed
        self.choices: list[list[str]] = self.add_state("choices", [])
        self.origins: list[str] = self.add_state("origins", [])
        self.policy = self.add_state("policy", PathPolicy([], 0))
        self.found: list[str] = self.add_state("found", [])
        self.steps = self.add_state("steps", 0)
        self.margin = self.add_state("margin", 0.0)
        self.steps_in_phase = self.add_state("steps_in_phase", 0)

    def begin(
        self, sources: Sequence[Source], fits_head: Sequence[bool], *, number: int, margin: float, steps: int
    ) -> list[Candidate]:
        """Begin to search among the modules of some networks.

        Args:
            sources: The networks.
            fits_head: Whether the task may take over the head of each.
            number: Number of the network that is searched, from which the draws follow.
            margin: By how much the expected error may be larger.
            steps: Training steps of the phase.

        Returns:
            A candidate of new modules, and one that stands for all paths that take over a first module.
        """
        self.origins = [source.name for source in sources]
        self.choices = [list(names) for names in zip(*(source.modules for source in sources), strict=True)]
        fits = [[True] * len(sources) for _ in self.choices]
        fits[-1] = list(fits_head)
        self.policy = PathPolicy(fits, derive_seed(self._seed, "paths", number))
        self.found, self.steps = [], 0
        self.margin, self.steps_in_phase = margin, steps
        return [Candidate(), Candidate(frozen=sources[0].modules[:1], origin=sources[0].name)]

    @property
    def active(self) -> bool:
        """True while a search is under way."""
        return bool(self.choices)

    @property
    def _is_exploring(self) -> bool:
        return self.steps < EXPLORING * self.steps_in_phase

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
        return self._network.tail(DRAWN)[depth - 1 :]

    def _drawn_losses(self, batch: Batch, classes: PhaseClasses, frozen: Sequence[str]) -> Tensor:
        outputs = self._network.path(batch.x, frozen, self._tail(len(frozen)))
        return classes.losses(classes.pick(outputs), batch)

    def losses(self, batch: Batch, classes: PhaseClasses) -> Tensor:
        """The mean losses (2,) of the new modules and of the path that this step draws."""
        frozen = self._path()
        for n in (len(batch.y), len(frozen)):  # what a step costs
            self._flops.note(n)
        outputs = classes.pick(self._network.path(batch.x, (), self._network.tail(NEW)))
        return torch.stack([classes.losses(outputs, batch).mean(), self._drawn_losses(batch, classes, frozen).mean()])

    def after_step(
        self, held_out: Batch, classes: PhaseClasses, scores_of: Callable[[Sequence[int]], HeldOutScores]
    ) -> None:
        """Reward the policy after a training step; at half of the phase, decide what is taken over.

        Args:
            held_out: The held-out samples of this worker, by which paths are rewarded.
            classes: The classes of the phase.
            scores_of: Gives the scores of some candidates on the held-out samples of all workers.
        """
        if self._is_exploring and self.steps >= WARM_UP * self.steps_in_phase:
            self._reward(held_out, classes)
        explored, self.steps = self._is_exploring, self.steps + 1
        if explored and not self._is_exploring:
            self.found = self._decide(scores_of)

    @torch.no_grad()
    def _reward(self, held_out: Batch, classes: PhaseClasses) -> None:
        """Tell the policy how well a path that it draws does on held-out samples of all workers."""
        order = torch.randperm(len(held_out.y), generator=generator(self._seed, "reward", self.steps))
        batch = select(held_out, order[:REWARD_SAMPLES].to(held_out.y.device))
        chosen = self.policy.sample()
        frozen = self._names(chosen)
        with evaluating(self._network.tails), self._flops.count_once("search", (len(batch.y), len(frozen))):
            errors = 1 - (-self._drawn_losses(batch, classes, frozen)).exp()
        total, n = sum_over_workers(torch.tensor([float(errors.sum()), float(len(errors))])).tolist()
        self.policy.reward(chosen, -total / max(n, 1.0))

    def _decide(self, scores_of: Callable[[Sequence[int]], HeldOutScores]) -> list[str]:
        """Return the first modules that the policy prefers, to take over: as many as do as well as the best."""
        names = self._names(self.policy.mode())
        paths = [names[: depth + 1] for depth in range(len(names))]
        prefixes, tails = self._network.prefixes, self._network.tails
        self._network.start(paths, [self._tail(len(path)) for path in paths])
        with self._flops.count("validation"):
            errors = scores_of(range(len(paths))).errors.mean(1)
        self._network.prefixes, self._network.tails = prefixes, tails
        return list(paths[int((errors <= errors.min() + self.margin).nonzero().max())])

    def answer(self, x: Tensor) -> Tensor:
        """The outputs (b, n) of the drawn path while the phase is trained."""
        frozen = self._path()
        for n in (len(x), len(frozen)):
            self._flops.note(n)
        return self._network.path(x, frozen, self._tail(len(frozen)))

    def end(self) -> tuple[list[Candidate], list[list[nn.Module]]]:
        """End the search; returns the two candidates that are left, and the modules that each has trained."""
        origin = self.origins[self.choices[0].index(self.found[0])]
        drawn = Candidate(frozen=tuple(self.found), origin=origin)
        tails = [self._network.tail(NEW), self._tail(len(self.found))]
        self.choices = []
        return [Candidate(), drawn], tails
