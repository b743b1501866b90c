"""Methods: learning algorithms, each of which names the most general setting that it can handle.

Importing this package imports no heavy library: `METHODS` names the classes, which are loaded when asked for.
"""

from typing import TYPE_CHECKING, Any

from redwood.settings.registry import known_names, load_object, resolve

if TYPE_CHECKING:
    from redwood.methods.base import Method

METHODS: dict[str, str] = {
    "random": "redwood.methods.random:Random",
    "finetune": "redwood.methods.finetune:Finetune",
    "stable_sgd": "redwood.methods.stable_sgd:StableSGD",
    "widen": "redwood.methods.widen:Widen",
    "joint": "redwood.methods.joint:Joint",
    "moving_window": "redwood.methods.moving_window:MovingWindow",
    "just_in_time": "redwood.methods.just_in_time:JustInTime",
    "dtp": "redwood.methods.dtp:DTP",
    "rehearsal": "redwood.methods.rehearsal:Rehearsal",
    "async_rehearsal": "redwood.methods.async_rehearsal:AsyncRehearsal",
    "er_ace": "redwood.methods.er_ace:ERACE",
    "der": "redwood.methods.der:DER",
    "der_pp": "redwood.methods.der_pp:DERpp",
    "agem": "redwood.methods.agem:AGEM",
    "mir": "redwood.methods.mir:MIR",
    "gdumb": "redwood.methods.gdumb:GDumb",
    "icarl": "redwood.methods.icarl:ICaRL",
    "hybrid1": "redwood.methods.hybrid1:Hybrid1",
    "fixed": "redwood.methods.fixed:Fixed",
    "lwf": "redwood.methods.lwf:LwF",
    "lwf_mc": "redwood.methods.lwf_mc:LwFMC",
    "two_side": "redwood.methods.two_side:TwoSide",
    "bic": "redwood.methods.bic:BiC",
    "wa": "redwood.methods.wa:WA",
    "ewc": "redwood.methods.ewc:EWC",
    "si": "redwood.methods.si:SI",
    "mas": "redwood.methods.mas:MAS",
    "rwalk": "redwood.methods.rwalk:RWalk",
    "packnet": "redwood.methods.packnet:PackNet",
    "hat": "redwood.methods.hat:HAT",
    "pnn": "redwood.methods.pnn:PNN",
    "hard_moe": "redwood.methods.hard_moe:HardMoE",
    "ncm": "redwood.methods.ncm:NCM",
    "slda": "redwood.methods.slda:SLDA",
    "ranpac": "redwood.methods.ranpac:RanPAC",
    "ppo": "redwood.methods.ppo:PPO",
    "a2c": "redwood.methods.a2c:A2C",
    "dqn": "redwood.methods.dqn:DQN",
    "sac": "redwood.methods.sac:SAC",
    "td3": "redwood.methods.td3:TD3",
}

# What a plus sign joins to an agent, as in dqn+ewc. Some share their name with a method, whose idea they carry over.
AGENT_PARTS: dict[str, str] = {
    "ewc": "redwood.methods.agents.ewc:AgentEWC",
    "l2": "redwood.methods.agents.l2:AgentL2",
    "packnet": "redwood.methods.agents.packnet:AgentPackNet",
    "perfect_memory": "redwood.methods.agents.perfect_memory:AgentPerfectMemory",
    "reset_buffer": "redwood.methods.agents.reset_buffer:AgentResetBuffer",
    "rehearsal": "redwood.methods.agents.rehearsal:AgentRehearsal",
    "scratch": "redwood.methods.agents.scratch:AgentScratch",
}

ENTRY_POINTS = "redwood.methods"

_EXPORTS = {
    "Method": "redwood.methods.base:Method",
    "LightningMethod": "redwood.methods.lightning:LightningMethod",
    "Composition": "redwood.methods.base:Composition",
    "compose": "redwood.methods.composition:compose",
} | {reference.rpartition(":")[2]: reference for reference in METHODS.values()}

__all__ = ["ENTRY_POINTS", "METHODS", "get_method", "method_names", *_EXPORTS]


def get_method(name: str) -> "type[Method]":
    """Return the method class of a key, `package.module:Class`, `path/to/file.py:Class` or entry point.

    Several of these with plus signs between them, such as `ewc+rehearsal`, stand for a method that does all of it.

    Raises:
        RedwoodError: If there is no such method, the name stands for something else, or methods cannot be joined.
    """
    from redwood.methods.base import Method
    from redwood.settings.errors import RedwoodError

    if "+" in name:
        from redwood.methods.composition import compose

        names = name.split("+")
        if "" in names:
            raise RedwoodError(f"In {name} a name is missing beside a plus sign; write it as in ewc+rehearsal.")
        return compose(*_joined(names))
    if name in AGENT_PARTS and name not in METHODS:
        raise RedwoodError(f"{name} is no method of its own; join it to an agent, as in dqn+{name}.")

    def suits(found: Any) -> bool:
        return isinstance(found, type) and issubclass(found, Method)

    found: type[Method] = resolve("method", name, METHODS, ENTRY_POINTS, suits)
    if not suits(found):
        raise RedwoodError(f"{name} is not a method: it has to be a subclass of redwood.methods.Method.")
    return found


def _joined(names: list[str]) -> "list[type[Method]]":
    """The classes of names that are joined; beside an agent the parts of agents are meant."""
    from redwood.methods.agents.agent import Agent

    others = [name for name in names if name not in AGENT_PARTS]
    if not any(issubclass(get_method(name), Agent) for name in others):
        return [get_method(name) for name in names]
    return [load_object("method", AGENT_PARTS[name]) if name in AGENT_PARTS else get_method(name) for name in names]


def method_names() -> list[str]:
    """The keys of all methods, other packages' included."""
    return list(known_names("method", METHODS, ENTRY_POINTS))


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load_object("method", _EXPORTS[name])
