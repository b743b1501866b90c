"""The offer of one round, and the purchases that need no model: equal shares, or the smallest slice first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from redwood.core.errors import RedwoodError

# Sums of costs such as 0.1 are not exact.
_TOLERANCE = 1e-9

Floats = NDArray[np.float64]


class InvalidPurchaseError(RedwoodError):
    """A method buys samples that it cannot have."""


@dataclass(frozen=True)
class Offer:
    """The samples that a method may buy after a phase. All sequences have an entry for each of S slices.

    Attributes:
        round: Number of the round, from 0.
        rounds_left: Rounds that are left, with this one. Money that is not spent in the last one is lost.
        budget: Money that is left for all of these rounds.
        names: Names of the slices.
        sizes: Samples of each slice that were bought so far, the initial ones included.
        costs: Cost of one sample of each slice.
        pool: Samples of each slice that can still be bought.
    """

    round: int
    rounds_left: int
    budget: float
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    costs: tuple[float, ...]
    pool: tuple[int, ...]

    @property
    def share(self) -> float:
        """An equal part of the budget for each round that is left."""
        return self.budget / self.rounds_left

    def cost_of(self, counts: Sequence[float] | Floats) -> float:
        """The cost of so many samples of each slice (S,)."""
        return float(np.dot(counts, self.costs))

    def affordable(self, money: float) -> NDArray[np.bool_]:
        """Return whether one more sample of each slice (S,) costs at most `money`, whatever the pool holds."""
        return np.asarray(self.costs) <= money + _TOLERANCE * max(1.0, self.budget)

    def whole(self, wish: Sequence[float] | Floats, money: float) -> list[int]:
        """Return whole numbers of samples near to a wish; they leave no money that would buy a further sample.

        The rest after rounding down goes to the slice that lacks most of its wish, one sample at a time.

        Args:
            wish: Samples of each slice (S,), not always whole. Other slices replace samples that the pool lacks.
            money: The money to spend.
        """
        wanted, pool, costs = np.asarray(wish, dtype=np.float64), np.asarray(self.pool), np.asarray(self.costs)
        counts = np.minimum(np.floor(np.maximum(wanted, 0) + _TOLERANCE), pool).astype(np.int64)
        money -= self.cost_of(counts)
        while True:
            possible = (counts < pool) & self.affordable(money)
            if not possible.any():
                return [int(count) for count in counts]
            chosen = int(np.argmax(np.where(possible, (wanted - counts) * costs, -np.inf)))
            counts[chosen] += 1
            money -= self.costs[chosen]

    def equal_shares(self, money: float) -> list[int]:
        """Spend the same on each slice; money that a slice's pool cannot use goes to the others in equal parts."""
        costs, pool = np.asarray(self.costs), np.asarray(self.pool)
        return self.whole(level(np.zeros(len(costs)), costs * pool, money) / costs, money)

    def smallest_first(self, money: float) -> list[int]:
        """Always buy of the smallest slice: all slices with a purchase end with the same size (water filling)."""
        costs, pool, sizes = np.asarray(self.costs), np.asarray(self.pool), np.asarray(self.sizes, dtype=np.float64)
        low, high = float(sizes.min()), float((sizes + pool).max())
        for _ in range(100):  # halves of the interval: the level is exact then
            level = (low + high) / 2
            dear = self.cost_of(np.clip(level - sizes, 0, pool)) > money
            low, high = (low, level) if dear else (level, high)
        wish = np.clip(low - sizes, 0, pool)
        counts = np.floor(wish + _TOLERANCE)
        money -= self.cost_of(counts)
        while True:
            possible = (counts < pool) & self.affordable(money)
            if not possible.any():
                return [int(count) for count in counts]
            chosen = int(np.argmin(np.where(possible, sizes + counts, np.inf)))
            counts[chosen] += 1
            money -= float(costs[chosen])

    def checked(self, answer: Iterable[object], method: str) -> list[int]:
        """The numbers of samples (S,) that a method has answered with.

        Raises:
            InvalidPurchaseError: If there is not one whole number from 0 for each slice, the pool holds too few
                samples, or they cost more than the budget.
        """
        try:
            counts = [float(count) for count in answer]  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise InvalidPurchaseError(f"{method}.acquire returned no numbers ({error}); {self._wanted}.") from error
        if len(counts) != len(self.costs) or not all(count >= 0 and count.is_integer() for count in counts):
            raise InvalidPurchaseError(f"{method}.acquire returned {_shown(counts)}; {self._wanted}.")
        for name, count, left in zip(self.names, counts, self.pool, strict=True):
            if count > left:
                raise InvalidPurchaseError(
                    f"{method}.acquire buys {count:g} samples of slice {name}, but its pool holds {left}; buy fewer."
                )
        cost = self.cost_of(counts)
        if cost > self.budget + _TOLERANCE * max(1.0, self.budget):
            raise InvalidPurchaseError(
                f"{method}.acquire spends {cost:g} in round {self.round}, but {self.budget:g} of the budget is left; "
                "buy fewer."
            )
        return [int(count) for count in counts]

    @property
    def _wanted(self) -> str:
        return f"return a number of samples, 0 or more, for each of the {len(self.costs)} slices"


@runtime_checkable
class Buys(Protocol):
    """A method that decides what to buy."""

    def acquire(self, offer: Offer) -> Iterable[int] | None:
        """The number of samples to buy of each slice (S,) for the next phase; None spends the same on each slice.

        It is called after each phase but the last, on every worker; the first worker's answer counts.
        """


def level(at: Floats, full: Floats, amount: float) -> Floats:
    """Divide an amount equally among vessels that hold `full` (S,) at most."""
    filled = at.copy()
    while amount > _TOLERANCE and (filled < full - _TOLERANCE).any():
        room = filled < full - _TOLERANCE
        added = np.where(room, np.minimum(amount / room.sum(), full - filled), 0.0)
        filled += added
        amount -= float(added.sum())
    return filled


def _shown(counts: Sequence[float]) -> str:
    return f"{[f'{count:g}' for count in counts[:6]]}".replace("'", "") + (" ..." if len(counts) > 6 else "")
