"""Methods: learning algorithms, each of which names the most general setting that it can handle.

Importing this package imports no heavy library: `redwood.methods.table` names the classes, and `from redwood.methods
import EWC` loads the module of this one class. Classes of a branch are imported from its modules. Lightning imports
torchmetrics, most of which then waits until it is used.
"""

from typing import TYPE_CHECKING

from redwood.core.late_torchmetrics import defer_torchmetrics
from redwood.core.registry import load_object
from redwood.methods.table import AGENT_PARTS, ENTRY_POINTS, METHODS, method_names, references

if TYPE_CHECKING:  # type checkers and editors read these imports instead of `__getattr__`
    from redwood.methods.agents.off_policy import DQN, SAC, TD3
    from redwood.methods.agents.on_policy import A2C, PPO
    from redwood.methods.architecture.hat import HAT
    from redwood.methods.architecture.packnet import PackNet
    from redwood.methods.architecture.pnn import PNN
    from redwood.methods.base import Composition, Method
    from redwood.methods.baselines import Finetune, Joint, Random, StableSGD
    from redwood.methods.composition import compose
    from redwood.methods.distillation.bic import BiC
    from redwood.methods.distillation.icarl import Hybrid1, ICaRL
    from redwood.methods.distillation.lwf import LwF
    from redwood.methods.distillation.lwf_mc import Fixed, LwFMC
    from redwood.methods.distillation.two_side import TwoSide
    from redwood.methods.distillation.wa import WA
    from redwood.methods.lightning import LightningMethod
    from redwood.methods.lookup import get_method
    from redwood.methods.regularisation.ewc import EWC
    from redwood.methods.regularisation.mas import MAS
    from redwood.methods.regularisation.rwalk import RWalk
    from redwood.methods.regularisation.si import SI
    from redwood.methods.replay.agem import AGEM
    from redwood.methods.replay.async_rehearsal import AsyncRehearsal
    from redwood.methods.replay.der import DER, DERpp
    from redwood.methods.replay.er_ace import ERACE
    from redwood.methods.replay.gdumb import GDumb
    from redwood.methods.replay.mir import MIR
    from redwood.methods.replay.rehearsal import Rehearsal
    from redwood.methods.training.step import Step

__all__ = [
    "A2C",
    "AGEM",
    "AGENT_PARTS",
    "DER",
    "DQN",
    "ENTRY_POINTS",
    "ERACE",
    "EWC",
    "HAT",
    "MAS",
    "METHODS",
    "MIR",
    "PNN",
    "PPO",
    "SAC",
    "SI",
    "TD3",
    "WA",
    "AsyncRehearsal",
    "BiC",
    "Composition",
    "DERpp",
    "Finetune",
    "Fixed",
    "GDumb",
    "Hybrid1",
    "ICaRL",
    "Joint",
    "LightningMethod",
    "LwF",
    "LwFMC",
    "Method",
    "PackNet",
    "RWalk",
    "Random",
    "Rehearsal",
    "StableSGD",
    "Step",
    "TwoSide",
    "compose",
    "get_method",
    "method_names",
]

defer_torchmetrics()

# What `__getattr__` loads when it is asked for.
_LAZY = {
    "Composition": "redwood.methods.base:Composition",
    "LightningMethod": "redwood.methods.lightning:LightningMethod",
    "Method": "redwood.methods.base:Method",
    "Step": "redwood.methods.training.step:Step",
    "compose": "redwood.methods.composition:compose",
    "get_method": "redwood.methods.lookup:get_method",
} | {
    reference.rpartition(":")[2]: reference
    for reference in references(METHODS).values()
    if reference.startswith(f"{__name__}.")  # branches stand above this package
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return load_object("method", _LAZY[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
