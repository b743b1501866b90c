"""How many environment steps a phase may take."""

from redwood.settings.errors import RedwoodError


class BudgetSpentError(RedwoodError):
    """An environment was used after the last step of its phase's budget."""

    def __init__(self, total: int) -> None:
        super().__init__(
            f"The {total:,} steps of the phase are spent, and its environments are closed; "
            "stop once phase.budget.left is 0."
        )


class Budget:
    """The environment steps of one worker in one phase, shared by all environments of the phase.

    Attributes:
        total: Steps that there are.
        spent: Steps taken so far.
    """

    __slots__ = ("spent", "total")

    def __init__(self, total: int) -> None:
        self.total, self.spent = total, 0

    @property
    def left(self) -> int:
        """Steps still to be taken."""
        return self.total - self.spent
