"""A distribution over paths of modules, which learns by the score function which modules to take over."""

from collections.abc import Sequence

import torch
from torch import Tensor

from redwood.core.seeding import generator
from redwood.core.state import Stateful

# The learning rate of the logits, the weight of the newest reward in the baseline, and that of the entropy bonus.
RATE = 1.0
NEWEST = 0.1
ENTROPY = 0.01


class PathPolicy(Stateful):
    """Takes the first module over from a source, and then chooses: the next one of a source, or new ones from there on.

    At each depth a softmax over the sources and "new" decides (prefix reuse; Veniat et al., 2021). It learns by the
    score function (REINFORCE; Williams, 1992). At first all depths are alike likely.

    Attributes:
        logits: For each depth and source, and for new modules (L, S + 1); minus infinity where a module does not fit.
        baseline: The running mean of the rewards.
        updates: Number of rewards so far.
    """

    def __init__(self, fits: Sequence[Sequence[bool]], seed: int) -> None:
        """Start as described above.

        Args:
            fits: For each depth and source, whether its module can be taken over.
            seed: Seed of the draws; each follows from it and `updates`.
        """
        self._seed = seed
        self.baseline = self.add_state("baseline", 0.0)
        self.updates = self.add_state("updates", 0)
        able = torch.tensor(fits, dtype=torch.bool) if fits else torch.zeros(0, 1, dtype=torch.bool)
        reach = [0.0]  # how many modules can be taken over from each depth on
        for row in reversed(able.any(1).tolist()):
            reach.insert(0, 1 + reach[0] if row else 0.0)
        start = (torch.tensor(reach[:-1]) / able.sum(1).clamp(min=1)).clamp(min=1e-9).log()
        taken_over = start[:, None].repeat(1, able.shape[1]).masked_fill(~able, -torch.inf)
        new = torch.zeros(len(able), 1)
        new[:1] = -torch.inf
        logits = torch.cat([taken_over, new], 1)
        self.logits = self.add_state("logits", logits)

    def sample(self, step: int | None = None) -> list[int]:
        """The source of each module that is taken over, drawn for a training step, or for the next reward."""
        purpose = ("reward", self.updates) if step is None else ("step", step)
        draws = torch.rand(len(self.logits), generator=generator(self._seed, *purpose))
        chosen: list[int] = []
        for row, draw in zip(self.logits.softmax(1), draws, strict=True):
            choice = int((row.cumsum(0) < draw).sum().clamp(max=len(row) - 1))
            if choice == len(row) - 1:
                break
            chosen.append(choice)
        return chosen

    def mode(self) -> list[int]:
        """The preferred source of each module, as far as modules can be taken over."""
        chosen: list[int] = []
        for row in self.logits[:, :-1]:
            if bool(row.isinf().all()):
                break
            chosen.append(int(row.argmax()))
        return chosen

    def reward(self, chosen: Sequence[int], value: float) -> None:
        """Make a path more likely if its reward is above the average, and less likely if below.

        Args:
            chosen: The result of `sample`.
            value: The reward.
        """
        if self.updates == 0:
            self.baseline = value
        logits = self.logits.clone().requires_grad_()
        with torch.enable_grad():
            objective = self._objective(logits.log_softmax(1), chosen, value - self.baseline)
        gradient = torch.autograd.grad(objective, logits)[0]
        self.logits = self.logits + RATE * gradient
        self.baseline += NEWEST * (value - self.baseline)
        self.updates += 1

    def _objective(self, log_p: Tensor, chosen: Sequence[int], advantage: float) -> Tensor:
        choices = [*chosen, log_p.shape[1] - 1][: len(log_p)]
        taken = torch.stack([log_p[depth, choice] for depth, choice in enumerate(choices)]).sum()
        finite = log_p.masked_fill(log_p.isinf(), 0)
        return advantage * taken - ENTROPY * (log_p.exp() * finite).sum()
