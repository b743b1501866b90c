"""Settings: evaluation protocols, as a tree of classes in which a child only ever adds assumptions.

    continual                                contexts may drift continuously; one phase, no ids, no boundaries
    └─ task_agnostic                         contexts are discrete
       └─ class_incremental                  boundaries and ids in training; classes accumulate
          ├─ domain_incremental              one output space shared by all tasks
          ├─ task_incremental                ids at test, too
          │  └─ multi_task                   ... and stationary (also a child of traditional)
          ├─ cumulative                      data of earlier tasks stays accessible: the upper bound
          ├─ traditional                     stationary: one shuffled phase
          ├─ online_class_incremental        one pass (also online_{domain,task}_incremental, online_traditional)
          └─ distributed_class_incremental   many workers (also distributed_{domain,task}_incremental,
                                             distributed_traditional, distributed_online_class_incremental)

    continual_rl                             an environment whose physics may drift; one phase, nothing announced
    └─ task_agnostic_rl                      contexts are discrete
       └─ incremental_rl                     boundaries, and ids in training
          ├─ task_incremental_rl             ids at test, too
          │  └─ multi_task_rl                ... and stationary (also a child of traditional_rl)
          ├─ traditional_rl                  stationary: each episode of a task drawn at random
          └─ distributed_incremental_rl      many workers (also distributed_{task_incremental,traditional}_rl)

Importing this package imports no heavy library: `SETTINGS` names the classes, which are loaded when asked for.
"""

from typing import TYPE_CHECKING, Any

from redwood.core.registry import known_names, load_object, look_up

if TYPE_CHECKING:
    from redwood.settings.base import Setting

SETTINGS: dict[str, str] = {
    "continual": "redwood.settings.tree:ContinualSetting",
    "task_agnostic": "redwood.settings.tree:TaskAgnosticSetting",
    "class_incremental": "redwood.settings.tree:ClassIncrementalSetting",
    "domain_incremental": "redwood.settings.tree:DomainIncrementalSetting",
    "task_incremental": "redwood.settings.tree:TaskIncrementalSetting",
    "cumulative": "redwood.settings.tree:CumulativeSetting",
    "traditional": "redwood.settings.tree:TraditionalSetting",
    "multi_task": "redwood.settings.tree:MultiTaskSetting",
    "online_class_incremental": "redwood.settings.tree:OnlineClassIncrementalSetting",
    "online_domain_incremental": "redwood.settings.tree:OnlineDomainIncrementalSetting",
    "online_task_incremental": "redwood.settings.tree:OnlineTaskIncrementalSetting",
    "online_traditional": "redwood.settings.tree:OnlineTraditionalSetting",
    "distributed_class_incremental": "redwood.settings.tree:DistributedClassIncrementalSetting",
    "distributed_domain_incremental": "redwood.settings.tree:DistributedDomainIncrementalSetting",
    "distributed_task_incremental": "redwood.settings.tree:DistributedTaskIncrementalSetting",
    "distributed_traditional": "redwood.settings.tree:DistributedTraditionalSetting",
    "distributed_online_class_incremental": "redwood.settings.tree:DistributedOnlineClassIncrementalSetting",
    "continual_rl": "redwood.settings.rl.tree:ContinualRLSetting",
    "task_agnostic_rl": "redwood.settings.rl.tree:TaskAgnosticRLSetting",
    "incremental_rl": "redwood.settings.rl.tree:IncrementalRLSetting",
    "task_incremental_rl": "redwood.settings.rl.tree:TaskIncrementalRLSetting",
    "traditional_rl": "redwood.settings.rl.tree:TraditionalRLSetting",
    "multi_task_rl": "redwood.settings.rl.tree:MultiTaskRLSetting",
    "distributed_incremental_rl": "redwood.settings.rl.tree:DistributedIncrementalRLSetting",
    "distributed_task_incremental_rl": "redwood.settings.rl.tree:DistributedTaskIncrementalRLSetting",
    "distributed_traditional_rl": "redwood.settings.rl.tree:DistributedTraditionalRLSetting",
}

ENTRY_POINTS = "redwood.settings"

_OTHERS = {
    "Setting": "redwood.settings.base:Setting",
    "SupervisedSetting": "redwood.settings.supervised:SupervisedSetting",
    "ReinforcementSetting": "redwood.settings.rl.setting:ReinforcementSetting",
    "Online": "redwood.settings.tree:Online",
    "Distributed": "redwood.settings.tree:Distributed",
    "Assumptions": "redwood.settings.assumptions:Assumptions",
    "Batch": "redwood.settings.batch:Batch",
    "Dataset": "redwood.settings.data.dataset:Dataset",
    "Phase": "redwood.settings.phase:Phase",
    "ReinforcementPhase": "redwood.settings.rl.phase:ReinforcementPhase",
    "Results": "redwood.settings.results:Results",
}
_EXPORTS = _OTHERS | {reference.rpartition(":")[2]: reference for reference in SETTINGS.values()}

__all__ = ["ENTRY_POINTS", "SETTINGS", "get_setting", "setting_names", *_EXPORTS]


def get_setting(name: str) -> "type[Setting]":
    """Return the setting class of a key, `package.module:Class`, `path/to/file.py:Class` or entry point.

    Raises:
        RedwoodError: If there is no such setting, or the name stands for something else.
    """
    from redwood.core.errors import RedwoodError
    from redwood.settings.base import Setting

    def suits(found: Any) -> bool:
        return isinstance(found, type) and issubclass(found, Setting)

    found: type[Setting] = look_up("setting", name, SETTINGS, ENTRY_POINTS, suits)
    if not suits(found):
        raise RedwoodError(f"{name} is not a setting: it has to be a subclass of redwood.settings.Setting.")
    return found


def setting_names() -> list[str]:
    """The keys of all settings, other packages' included."""
    return list(known_names("setting", SETTINGS, ENTRY_POINTS))


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load_object("setting", _EXPORTS[name])
