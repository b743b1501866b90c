"""The base of methods: a method learns from the phases of a setting, and predicts."""

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from torch import Tensor

from redwood.core.checks import refuse_untyped_options
from redwood.core.errors import NotApplicableError, RedwoodError
from redwood.core.growth import grow
from redwood.core.overrides import refuse_taken_options, warn_of_misnamed
from redwood.core.parts import Naming
from redwood.core.registry import reference_of
from redwood.core.state import State, Stateful
from redwood.core.workers import world_size
from redwood.engine.run import Run
from redwood.methods.table import known_methods
from redwood.settings.base import Setting
from redwood.settings.scores.results import Results


class Composition(Enum):
    """The place of a method in a composition of methods, such as `ewc+rehearsal`.

    Attributes:
        NEVER: It cannot be joined: it is a procedure of its own.
        FIRST: Must come first, because the loss of all others has to pass through it.
        LAST: Must come last, because it replaces the loss or the prediction.
        ANYWHERE: Its overrides only add to the method that follows it.
    """

    NEVER = "never"
    FIRST = "first"
    LAST = "last"
    ANYWHERE = "anywhere"


@dataclass
class Method(Stateful, metaclass=Naming):
    """A learning algorithm; its dataclass fields are its hyper-parameters, and its command-line options.

    Set in a subclass:
        target: The most general setting whose promises suffice; the method applies to it and to all its descendants.
        requires: Requirements on free parameters: `many_passes` (passes > 1), `one_worker` (workers = 1).
        composition: Where it may stand in a composition; see `redwood.methods.composition`.
        regression: Whether it can predict numbers, too.
        multi_label: Whether it can predict label sets, too.
        upper_bound: Whether it bounds the others from above, as it has the data of all tasks so far. Comparisons show
            it beside the methods of the parent of its setting.
        extends: Methods that it does all of without inheriting from them; they cannot be joined with it.
        brings: Names of its additions that some other methods do not allow, such as `teacher`.
        bars: The things that no joined method may bring, each with the reason, a clause. What it brings itself is
            barred in other classes only.

    A subclass may have a loss of its own. So it does not inherit `composition`, `regression` and `multi_label`: it
    predicts one class and may only stand last, unless it says otherwise.

    A run calls `configure` once, and then `predict` on every task, for the untrained accuracy. In each phase it calls
    `fit`, and then `predict` on every task. Where boundaries are announced, `on_task_start` comes before `fit`, and
    `on_task_end` after it. At the end comes `on_finish`. Under several workers, each makes these calls on its own copy.
    """

    target: ClassVar[type[Setting]] = Setting
    requires: ClassVar[frozenset[str]] = frozenset()
    composition: ClassVar[Composition] = Composition.NEVER
    regression: ClassVar[bool] = False
    multi_label: ClassVar[bool] = False
    upper_bound: ClassVar[bool] = False
    extends: ClassVar[tuple[type["Method"], ...]] = ()
    brings: ClassVar[frozenset[str]] = frozenset()
    bars: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        """Reset `regression`, `multi_label` and `composition`, unless the subclass sets them itself."""
        super().__init_subclass__(**options)
        refuse_untyped_options(cls)
        if not cls.__module__.startswith("redwood."):
            refuse_taken_options(cls)
        warn_of_misnamed(cls, 3, cls.target.hooks)  # past the metaclass: the class statement
        cls.regression = cls.__dict__.get("regression", False)
        cls.multi_label = cls.__dict__.get("multi_label", False)
        if "composition" not in cls.__dict__ and cls.composition is not Composition.NEVER:
            cls.composition = Composition.LAST

    @classmethod
    def reference(cls) -> str:
        """The key of the method, or the reference that loads its class."""
        return reference_of(cls, known_methods())

    def attach(self, run: Run) -> None:
        """Receive the run: its device, loggers and checkpoint folder. `configure` follows, and declares the state."""
        self.run = run
        self._states = {}

    @abstractmethod
    def configure(self, setting: Any) -> None:
        """Prepare for `setting`: `setting.observation_space` and `setting.action_space` say what goes in and out.

        Declare here, by `self.add_state(name, value)`, each attribute that a resumed run needs; see `Stateful`.

        It is a view: options and spaces, `assumptions`, and `nb_tasks` where boundaries are announced, but no data.
        """

    @abstractmethod
    def fit(self, phase: Any) -> None:
        """Learn from one phase.

        Args:
            phase: Under supervised settings a `redwood.settings.streams.phase.Phase`. Iterate its batches,
                `phase.train`, `phase.train.epochs` times. Call `phase.score(predictions, batch)` before learning from a
                batch, so that online accuracy can be reported. Once `fit` is over, its loaders serve nothing any more.
                Under reinforcement settings a `redwood.settings.rl.phase.ReinforcementPhase`: interact with
                `phase.train` as long as `phase.budget.left`.
        """

    @abstractmethod
    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Return classes (B,) or scores (B, K) for samples (B, ...) in their storage dtype; of regression, numbers.

        Where a sample may have several labels (`setting.action_space` is `MultiBinary`), return scores (B, L), or label
        sets (B, L), bool. A score above 0 predicts its label.

        Numbers are of the shape of the targets, (B,) or (B, d): where `setting.action_space` is a `Box`.

        Args:
            x: Samples (B, ...), or observations to return actions for, on any device.
            task_id: Task of each sample (B,), or None where the setting hides it.

        Raises:
            NotTrainedError: If the method cannot predict before its first `fit`; forward transfer is undefined then.
        """

    def features(self, x: Tensor) -> Tensor:
        """Return the features (B, d) of samples (B, ...): the input of the last layer.

        Raises:
            NotApplicableError: If the method has no such features.
        """
        raise NotApplicableError(f"{self.reference()} has no features; choose a method with a network.")

    def on_task_start(self, task_id: int | None) -> None:
        """A task starts (None: the phase holds several)."""

    def on_task_end(self, task_id: int | None) -> None:
        """The task that was trained last is over."""

    def on_finish(self, results: Results) -> None:
        """The run is over."""

    def names_per_task(self) -> Collection[str]:
        """Names of the parameters that each task has of its own: a penalty for earlier tasks leaves them out."""
        return ()

    def free_entries(self) -> Mapping[str, Tensor]:
        """Of parameters that tasks share out: which entries (bool, of its shape) no task so far answers with, by name.

        A method that names any has to freeze all other entries: nothing is left for a penalty to hold.
        """
        return {}

    def state_for_other_workers(self, states: list[State]) -> State:
        """This worker's state, made of those of another number of workers.

        Args:
            states: What `state_dict` returned on each worker.

        Raises:
            RedwoodError: If each worker has learned something of its own, which cannot be put together.
        """
        raise RedwoodError(
            f"--workers {world_size()}: the run was saved by {len(states)} workers, each with a state of its own, and "
            f"only methods with --async can go on with another number; resume it with {len(states)}."
        )

    def grow_state(self, saved: State, smaller: Any) -> State:
        """The state of a method with fewer outputs or tasks, in the form of this one: a run that extends it starts so.

        Args:
            saved: What `state_dict` of a method like `smaller` returned.
            smaller: A method of the same options as it was before the earlier run. This one is as it is before a run,
                too.

        Raises:
            NotApplicableError: If the method has to know its outputs or tasks beforehand.
        """
        return {name: grow(getattr(self, name), getattr(smaller, name), saved[name], {}) for name in self._states}

    def never_acted(self) -> str | None:
        """A sentence if the run never used what distinguishes the method from fine-tuning; else None.

        The run is over. The sentence is given as a warning.
        """
        return None

    def costs(self) -> State:
        """`training_flops`, `parameters` and `buffer_bytes` so far, of this worker.

        `flops` are the FLOPs for each of `redwood.settings.scores.cost.USES`, of a method that tells them apart; else
        all are training's. See `redwood.engine.cost.rehearsal_cost` for more.
        """
        return {"training_flops": 0.0, "parameters": 0, "buffer_bytes": self.nbytes}
