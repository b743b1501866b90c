"""Agents that learn from a memory of old transitions."""

from dataclasses import dataclass
from typing import Any

from redwood.methods.agents.agent import Agent
from redwood.methods.agents.memory import filled_bytes, load_memory, memory_state


@dataclass
class OffPolicyAgent(Agent):
    """An agent with a replay memory, which is kept from phase to phase as far as its `buffer_size` allows."""

    def replay_buffer_options(self) -> dict[str, Any]:
        """`replay_buffer_class` and `replay_buffer_kwargs` of the library; the library's own memory if empty."""
        return {}

    def algorithm_options(self) -> dict[str, Any]:
        """The options, and which memory to use."""
        return super().algorithm_options() | self.replay_buffer_options()

    def memory_state(self) -> dict[str, Any]:
        """What the replay memory holds, as tensors and plain values."""
        return memory_state(self.algorithm.replay_buffer)

    def load_memory(self, state: dict[str, Any]) -> None:
        """Go on from an earlier `memory_state`."""
        load_memory(self.algorithm.replay_buffer, state)

    def memory_bytes(self) -> int:
        """Bytes of the transitions held."""
        return filled_bytes(self.algorithm.replay_buffer)

    def state_dict(self) -> dict[str, Any]:
        """All of an agent, and its memory."""
        return super().state_dict() | {"memory": self.memory_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with an earlier agent and its memory."""
        super().load_state_dict(state)
        self.load_memory(state["memory"])
