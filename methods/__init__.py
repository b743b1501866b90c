"""Methods: learning algorithms, each of which names the most general setting that it can handle.

Importing this package imports no heavy library: `METHODS` names the classes, which are loaded when asked for.
"""

from typing import TYPE_CHECKING, Any

from redwood.core.registry import known_names, load_object, resolve

if TYPE_CHECKING:
    from redwood.methods.base import Method

METHODS: dict[str, str] = {
    "random": "redwood.methods.baselines:Random",
    "finetune": "redwood.methods.baselines:Finetune",
    "stable_sgd": "redwood.methods.baselines:StableSGD",
    "widen": "redwood.methods.architecture.widen:Widen",
    "joint": "redwood.methods.baselines:Joint",
    "moving_window": "redwood.methods.streaming.moving_window:MovingWindow",
    "just_in_time": "redwood.methods.streaming.just_in_time:JustInTime",
    "dtp": "redwood.methods.target_propagation.dtp:DTP",
    "rehearsal": "redwood.methods.replay.rehearsal:Rehearsal",
    "async_rehearsal": "redwood.methods.replay.async_rehearsal:AsyncRehearsal",
    "er_ace": "redwood.methods.replay.er_ace:ERACE",
    "der": "redwood.methods.replay.der:DER",
    "der_pp": "redwood.methods.replay.der:DERpp",
    "agem": "redwood.methods.replay.agem:AGEM",
    "mir": "redwood.methods.replay.mir:MIR",
    "gdumb": "redwood.methods.replay.gdumb:GDumb",
    "icarl": "redwood.methods.distillation.icarl:ICaRL",
    "hybrid1": "redwood.methods.distillation.icarl:Hybrid1",
    "fixed": "redwood.methods.distillation.lwf_mc:Fixed",
    "lwf": "redwood.methods.distillation.lwf:LwF",
    "lwf_mc": "redwood.methods.distillation.lwf_mc:LwFMC",
    "two_side": "redwood.methods.distillation.two_side:TwoSide",
    "bic": "redwood.methods.distillation.bic:BiC",
    "wa": "redwood.methods.distillation.wa:WA",
    "ewc": "redwood.methods.regularisation.ewc:EWC",
    "si": "redwood.methods.regularisation.si:SI",
    "mas": "redwood.methods.regularisation.mas:MAS",
    "rwalk": "redwood.methods.regularisation.rwalk:RWalk",
    "packnet": "redwood.methods.architecture.packnet:PackNet",
    "hat": "redwood.methods.architecture.hat:HAT",
    "pnn": "redwood.methods.architecture.pnn:PNN",
    "hard_moe": "redwood.methods.modular.hard_moe:HardMoE",
    "ncm": "redwood.methods.streaming.ncm:NCM",
    "slda": "redwood.methods.streaming.slda:SLDA",
    "ranpac": "redwood.methods.streaming.ranpac:RanPAC",
    "ppo": "redwood.methods.agents.on_policy:PPO",
    "a2c": "redwood.methods.agents.on_policy:A2C",
    "dqn": "redwood.methods.agents.off_policy:DQN",
    "sac": "redwood.methods.agents.off_policy:SAC",
    "td3": "redwood.methods.agents.off_policy:TD3",
}

# What a plus sign joins to an agent, as in dqn+ewc. Some share their name with a method, whose idea they carry over.
AGENT_PARTS: dict[str, str] = {
    "ewc": "redwood.methods.agents.weight_penalty:AgentEWC",
    "l2": "redwood.methods.agents.weight_penalty:AgentL2",
    "packnet": "redwood.methods.agents.packnet:AgentPackNet",
    "perfect_memory": "redwood.methods.agents.replay_memory:AgentPerfectMemory",
    "reset_buffer": "redwood.methods.agents.replay_memory:AgentResetBuffer",
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
    from redwood.core.errors import RedwoodError
    from redwood.methods.base import Method

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
