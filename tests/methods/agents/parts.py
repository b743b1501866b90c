"""Agents with parts, by the names that join them."""

from functools import partial
from typing import Any

from redwood.methods import AGENT_PARTS, get_method
from redwood.settings.rl.tree import TaskIncrementalRLSetting
from tests.methods.agents.runs import SMALL, configured, small_setting
from tests.small_runs import run_here

NEEDS_A_MEMORY = {"reset_buffer", "perfect_memory", "rehearsal", "best_return"}
NEEDS_A_CRITIC = {"reset_critic"}
NEEDS_IDS = {"packnet", "best_return"}
# An agent with a replay memory and one without, each with every part that it can have.
WITH_PARTS = [f"dqn+{part}" for part in AGENT_PARTS if part not in NEEDS_A_CRITIC]
WITH_PARTS += [f"ppo+{part}" for part in AGENT_PARTS if part not in NEEDS_A_MEMORY]


def with_part(part: str) -> str:
    """The name of an agent that can have the part, joined to it."""
    return f"{'ppo' if part in NEEDS_A_CRITIC else 'dqn'}+{part}"


def joined(name: str, **options: Any) -> Any:
    """An agent with parts, such as `dqn+ewc`, with updates from early on."""
    make, _ = SMALL[name.split("+")[0]]
    small = dict(make.keywords) if isinstance(make, partial) else {}
    return get_method(name)(**small | options)


def setting_for(name: str, **options: Any) -> Any:
    """A small setting that the agent can act in, and that has what its parts need."""
    cls = {"cls": TaskIncrementalRLSetting} if NEEDS_IDS.intersection(name.split("+")) else {}
    return small_setting(SMALL[name.split("+")[0]][1], **cls | options)


def untrained(name: str, setting: dict[str, Any] | None = None, **options: Any) -> Any:
    """An agent with parts as it is before its first task."""
    return configured(joined(name, **options), setting_for(name, **setting or {}))


def trained(name: str, setting: dict[str, Any] | None = None, **options: Any) -> Any:
    """An agent with parts after a small run."""
    agent = joined(name, **options)
    run_here(setting_for(name, **setting or {}), agent)
    return agent
