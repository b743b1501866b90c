"""How many environment steps a phase may take."""

from redwood.settings.errors import RedwoodError


class BudgetSpentError(RedwoodError):
    """An environment was used after the last step of its phase's budget."""

    def __init__(self, total: int) -> None:
        super().__init__(
            f"The {total:,} steps of the phase are spent, and its environments are closed; "
            "stop once phase.budget.left is 0."
        )


class PhaseOverError(RedwoodError):
    """An environment was used after its phase."""

    def __init__(self) -> None:
        super().__init__(
            "The phase is over, and its environments are closed, whatever was left of its budget; "
            "step them within fit only, and ask the next phase for new ones."
        )


class Steps:
    """The environment steps of one worker in one phase, counted by all environments of the phase.

    Attributes:
        total: Steps that there are.
        spent: Steps taken so far.
    """

    __slots__ = ("spent", "total")

    def __init__(self, total: int) -> None:
        self.total, self.spent = total, 0


class Budget:
    """The environment steps of one worker in one phase, to be read."""

    __slots__ = ("_steps",)

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    @property
    def total(self) -> int:
        """Steps that there are."""
        return self._steps.total

    @property
    def spent(self) -> int:
        """Steps taken so far."""
        return self._steps.spent

    @property
    def left(self) -> int:
        """Steps still to be taken."""
        return self._steps.total - self._steps.spent
