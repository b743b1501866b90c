"""Settings: evaluation protocols, as a tree of classes in which a child only ever adds assumptions.

    continual                                contexts may drift continuously; one phase, no ids, no boundaries
    └─ task_agnostic                         contexts are discrete
       └─ class_incremental                  boundaries and ids in training; classes accumulate
          ├─ domain_incremental              one output space shared by all tasks
          ├─ task_incremental                ids at test, too
          │  ├─ multi_task                   ... and stationary (also a child of traditional)
          │  └─ cumulative_task_incremental  ... and data of earlier tasks stays (also a child of cumulative)
          ├─ cumulative                      data of earlier tasks stays accessible: the upper bound
          │                                  (also cumulative_domain_incremental)
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

Branches hang on these nodes: `python cli.py list` shows them, too.

Importing this package imports no heavy library: `redwood.settings.table` names the classes, and `from
redwood.settings import ClassIncrementalSetting` loads the module of this one class.
"""

from typing import TYPE_CHECKING

from redwood.core.registry import load_object
from redwood.settings.table import ENTRY_POINTS, SETTINGS, setting_names

if TYPE_CHECKING:  # type checkers and editors read these imports instead of `__getattr__`
    from redwood.settings.assumptions import Assumption, Assumptions
    from redwood.settings.base import Setting
    from redwood.settings.batch import Batch
    from redwood.settings.data.dataset import Dataset
    from redwood.settings.data.parts import Arrays, HuggingFace, Images, Table
    from redwood.settings.eval_tasks import AllTasks, SeenTasks
    from redwood.settings.lookup import get_setting
    from redwood.settings.rl.phase import ReinforcementPhase
    from redwood.settings.rl.setting import ReinforcementSetting
    from redwood.settings.rl.tree import (
        ContinualRLSetting,
        DistributedIncrementalRLSetting,
        DistributedTaskIncrementalRLSetting,
        DistributedTraditionalRLSetting,
        IncrementalRLSetting,
        MultiTaskRLSetting,
        TaskAgnosticRLSetting,
        TaskIncrementalRLSetting,
        TraditionalRLSetting,
    )
    from redwood.settings.scores.results import Results
    from redwood.settings.streams.cuts import Auto, ClassSplit, Contexts, Instances, Ordered, Permuted, Rotated
    from redwood.settings.streams.phase import Phase
    from redwood.settings.streams.task_lists import TaskList
    from redwood.settings.streams.transitions import Abrupt, Blurry, Gradual
    from redwood.settings.supervised import SupervisedSetting
    from redwood.settings.tree import (
        ClassIncrementalSetting,
        ContinualSetting,
        CumulativeSetting,
        CumulativeTaskIncrementalSetting,
        Distributed,
        DistributedClassIncrementalSetting,
        DistributedDomainIncrementalSetting,
        DistributedOnlineClassIncrementalSetting,
        DistributedTaskIncrementalSetting,
        DistributedTraditionalSetting,
        DomainIncrementalSetting,
        MultiTaskSetting,
        Online,
        OnlineClassIncrementalSetting,
        OnlineDomainIncrementalSetting,
        OnlineTaskIncrementalSetting,
        OnlineTraditionalSetting,
        TaskAgnosticSetting,
        TaskIncrementalSetting,
        TraditionalSetting,
    )

__all__ = [
    "ENTRY_POINTS",
    "SETTINGS",
    "Abrupt",
    "AllTasks",
    "Arrays",
    "Assumption",
    "Assumptions",
    "Auto",
    "Batch",
    "Blurry",
    "ClassIncrementalSetting",
    "ClassSplit",
    "Contexts",
    "ContinualRLSetting",
    "ContinualSetting",
    "CumulativeSetting",
    "CumulativeTaskIncrementalSetting",
    "Dataset",
    "Distributed",
    "DistributedClassIncrementalSetting",
    "DistributedDomainIncrementalSetting",
    "DistributedIncrementalRLSetting",
    "DistributedOnlineClassIncrementalSetting",
    "DistributedTaskIncrementalRLSetting",
    "DistributedTaskIncrementalSetting",
    "DistributedTraditionalRLSetting",
    "DistributedTraditionalSetting",
    "DomainIncrementalSetting",
    "Gradual",
    "HuggingFace",
    "Images",
    "IncrementalRLSetting",
    "Instances",
    "MultiTaskRLSetting",
    "MultiTaskSetting",
    "Online",
    "OnlineClassIncrementalSetting",
    "OnlineDomainIncrementalSetting",
    "OnlineTaskIncrementalSetting",
    "OnlineTraditionalSetting",
    "Ordered",
    "Permuted",
    "Phase",
    "ReinforcementPhase",
    "ReinforcementSetting",
    "Results",
    "Rotated",
    "SeenTasks",
    "Setting",
    "SupervisedSetting",
    "Table",
    "TaskAgnosticRLSetting",
    "TaskAgnosticSetting",
    "TaskIncrementalRLSetting",
    "TaskIncrementalSetting",
    "TaskList",
    "TraditionalRLSetting",
    "TraditionalSetting",
    "get_setting",
    "setting_names",
]

# The names that `__getattr__` loads on demand.
_LAZY = {
    "Arrays": "redwood.settings.data.parts:Arrays",
    "HuggingFace": "redwood.settings.data.parts:HuggingFace",
    "Images": "redwood.settings.data.parts:Images",
    "Table": "redwood.settings.data.parts:Table",
    "Abrupt": "redwood.settings.streams.transitions:Abrupt",
    "Blurry": "redwood.settings.streams.transitions:Blurry",
    "Gradual": "redwood.settings.streams.transitions:Gradual",
    "TaskList": "redwood.settings.streams.task_lists:TaskList",
    "Auto": "redwood.settings.streams.cuts:Auto",
    "ClassSplit": "redwood.settings.streams.cuts:ClassSplit",
    "Contexts": "redwood.settings.streams.cuts:Contexts",
    "Instances": "redwood.settings.streams.cuts:Instances",
    "Ordered": "redwood.settings.streams.cuts:Ordered",
    "Permuted": "redwood.settings.streams.cuts:Permuted",
    "Rotated": "redwood.settings.streams.cuts:Rotated",
    "AllTasks": "redwood.settings.eval_tasks:AllTasks",
    "SeenTasks": "redwood.settings.eval_tasks:SeenTasks",
    "Assumption": "redwood.settings.assumptions:Assumption",
    "Assumptions": "redwood.settings.assumptions:Assumptions",
    "Batch": "redwood.settings.batch:Batch",
    "Dataset": "redwood.settings.data.dataset:Dataset",
    "Distributed": "redwood.settings.tree:Distributed",
    "Online": "redwood.settings.tree:Online",
    "Phase": "redwood.settings.streams.phase:Phase",
    "ReinforcementPhase": "redwood.settings.rl.phase:ReinforcementPhase",
    "ReinforcementSetting": "redwood.settings.rl.setting:ReinforcementSetting",
    "Results": "redwood.settings.scores.results:Results",
    "Setting": "redwood.settings.base:Setting",
    "SupervisedSetting": "redwood.settings.supervised:SupervisedSetting",
    "get_setting": "redwood.settings.lookup:get_setting",
} | {
    reference.rpartition(":")[2]: reference
    for reference in SETTINGS.values()
    if reference.startswith(f"{__name__}.")  # branches stand above this package
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return load_object("setting", _LAZY[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
