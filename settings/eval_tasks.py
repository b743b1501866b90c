"""The tasks that are tested after each phase: the option `eval_tasks`, and `lca` of supervised settings."""

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.parts import Kind, Part


@dataclass
class EvalTasks(Part):
    """The tasks that are tested after each phase."""

    tests: ClassVar[bool] = True  # whether any task is tested
    ahead: ClassVar[bool] = True  # whether tasks are tested before the phase that trains them, too

    @property
    def curve_length(self) -> int:
        """Mini-batches of each task after which it is tested, for its learning curve; 0: there is none."""
        return 0


@dataclass
class EvalAll(EvalTasks):
    """All tasks are tested."""


@dataclass
class EvalSeen(EvalTasks):
    """Only the tasks trained so far are tested."""

    ahead: ClassVar[bool] = False


@dataclass
class EvalNone(EvalTasks):
    """No task is tested."""

    tests: ClassVar[bool] = False
    ahead: ClassVar[bool] = False


EVAL_TASKS = Kind("eval_tasks", EvalTasks, "redwood.eval_tasks")
for name, part in (("all", EvalAll), ("seen", EvalSeen), ("none", EvalNone)):
    EVAL_TASKS.register(name)(part)


@dataclass
class LearningCurves(EvalTasks):
    """Tasks that may be tested inside their phases, too."""

    lca: int = 0  # test each task after 0, 1, ... LCA of its mini-batches (area under its learning curve)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "lca", 0)

    @property
    @override
    def curve_length(self) -> int:
        return self.lca


@dataclass
class AllTasks(LearningCurves, EvalAll):
    """All tasks are tested."""


@dataclass
class SeenTasks(LearningCurves, EvalSeen):
    """Only the tasks trained so far are tested."""


EVAL_TASKS_WITH_CURVES = Kind("eval_tasks", EvalTasks, "redwood.eval_tasks")
for name, part in (("all", AllTasks), ("seen", SeenTasks), ("none", EvalNone)):
    EVAL_TASKS_WITH_CURVES.register(name)(part)
