"""Training that diverged ends the run in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from redwood.core.errors import RedwoodError
from redwood.settings.rl.environment import InvalidActionError
from redwood.settings.rl.phase import ReinforcementPhase

if TYPE_CHECKING:
    from redwood.methods.agents.agent import Agent


@contextmanager
def divergence_told(agent: "Agent", phase: ReinforcementPhase) -> Iterator[None]:
    """Train within; weights that are not finite, at the end or when something fails, end the run in one sentence.

    Such weights may be used before a loss is reported: distributions refuse them, and environments their actions.

    Raises:
        RedwoodError: If training diverged.
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if isinstance(error, InvalidActionError) or not isinstance(error, RedwoodError):
            _check_weights(agent, phase, error)
        raise
    _check_weights(agent, phase)


def _check_weights(agent: "Agent", phase: ReinforcementPhase, cause: Exception | None = None) -> None:
    for name, parameter in agent.named_parameters().items():
        if not parameter.isfinite().all():
            raise RedwoodError(
                f"Training diverged: {name} is not finite after {phase.budget.spent} steps; "
                "use a smaller --learning_rate."
            ) from cause
