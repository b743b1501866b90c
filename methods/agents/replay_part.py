"""What parts of agents have in common that need a replay memory."""

from dataclasses import dataclass
from typing import Any, ClassVar

from redwood.methods.agents.off_policy import OffPolicyAgent
from redwood.methods.agents.on_policy import OnPolicyAgent
from redwood.methods.base import Method
from redwood.settings.errors import InvalidOptionError


@dataclass
class ReplayPart(OffPolicyAgent):
    """A part that changes the replay memory of the agent that it is joined to.

    Set in a subclass:
        replaces: Whether it has a memory of its own, in the place of the library's.
    """

    replaces: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse to be joined to an agent without a replay memory, or to another memory."""
        super().__init_subclass__(**options)
        reference = "+".join(base.reference() for base in cls.__bases__ if issubclass(base, Method))
        if issubclass(cls, OnPolicyAgent):
            raise InvalidOptionError(
                f"The method {reference} cannot be made: an agent that learns from what it has just done has no "
                "replay memory; choose dqn, sac or td3."
            )
        memories = [base for base in cls.__mro__ if issubclass(base, ReplayPart) and vars(base).get("replaces")]
        if len(memories) > 1:
            names = " and ".join(base.reference() for base in memories)
            raise InvalidOptionError(
                f"The method {reference} cannot be made: {names} each are a replay memory, and there is one; "
                "leave one of them out."
            )

    def algorithm_options(self) -> dict[str, Any]:
        """The options; of those that only the library's own memory knows, no other value than the default."""
        n_steps = getattr(self, "n_steps", 1)
        if self.replaces and n_steps != 1:
            raise InvalidOptionError(
                f"--n_steps {n_steps} needs the library's own replay memory, which {self.reference()} replaces; "
                "leave it out."
            )
        return super().algorithm_options()
