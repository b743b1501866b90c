"""The root of the tree: what a setting is, and what it asks of a learner."""

import copy
import difflib
import math
from abc import ABC, ABCMeta, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, cast

import gymnasium
from torch import Tensor

from redwood.core.checks import check_choice, check_types, refuse_untyped_options
from redwood.core.errors import HiddenError, InvalidOptionError, NotApplicableError
from redwood.settings.assumptions import Assumptions, merge_assumptions

if TYPE_CHECKING:
    from redwood.runs.run import Run
    from redwood.settings.results import Results

EVAL_TASKS = ("all", "seen")


class Learner(Protocol):
    """What a setting needs of a method; `redwood.methods.Method` is the base class that has it all."""

    target: ClassVar[type["Setting"]]
    requires: ClassVar[frozenset[str]]
    regression: ClassVar[bool]

    def attach(self, run: "Run") -> None:
        """Receive the run: device, loggers, checkpoints."""

    def configure(self, setting: Any) -> None:
        """Prepare for the setting: build the network."""

    def on_task_start(self, task_id: int | None) -> None:
        """A task starts; its id where ids are given."""

    def fit(self, phase: Any) -> None:
        """Learn from one phase: a `Phase`, or in the reinforcement branch a `ReinforcementPhase`."""

    def on_task_end(self, task_id: int | None) -> None:
        """A task is over."""

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Return classes (B,) or scores (B, K), or numbers (B,) or (B, d), for samples (B, ...); or actions."""

    def on_finish(self, results: "Results") -> None:
        """The run is over."""

    def never_acted(self) -> str | None:
        """Why the method did nothing that plain training does not do, in one sentence; None if it did."""

    def state_dict(self) -> dict[str, Any]:
        """All that was learned, as tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from an earlier state."""

    @classmethod
    def reference(cls) -> str:
        """The key of the method, or the reference that loads its class."""

    def costs(self) -> dict[str, Any]:
        """`training_flops`, `parameters` and `buffer_bytes` of this worker so far."""


class OnlineCurve(Protocol):
    """What is measured while a phase is trained."""

    def curve(self) -> list[tuple[int, float]]:
        """Points: samples of this phase seen, value since the point before; every worker has to ask."""

    def span(self) -> int:
        """Samples of this phase that the curve is over; every worker has to ask."""


class AnyPhase(Protocol):
    """What the loop needs of a phase, whichever branch of the tree it is of."""

    task_id: int | None

    @property
    def online(self) -> OnlineCurve:
        """What is measured while it is trained."""

    @property
    def steps(self) -> int:
        """Training steps, or environment steps, of the phase."""

    @property
    def samples_served(self) -> int:
        """Samples trained on, or environment steps taken, so far by this worker."""

    def close(self) -> None:
        """The phase is over: let go of what it holds open."""


class Stream(Protocol):
    """The data of one run. It stays with the setting: a method sees only the phases and the test samples."""

    num_phases: int
    num_tasks: int
    results_type: "type[Results]"

    def phase(self, index: int) -> AnyPhase:
        """Build one phase."""

    def check(self, method: Learner) -> None:
        """Raise `NotApplicableError` if the method cannot learn from data of this kind."""

    def baseline(self, method: Learner) -> list[float] | None:
        """What each task is scored without any training, if that is known."""

    def result_fields(self) -> dict[str, Any]:
        """Fields of the results that the stream knows of."""

    def drawn(self) -> dict[str, Any]:
        """What was drawn for the stream, as results keep it beside the options."""

    def fingerprint(self) -> dict[str, Any]:
        """What the stream is made of, as plain values that differ where the data or the environments do."""

    def tasks_seen(self, phase: int) -> int:
        """How many tasks, the first ones, have been trained by the end of a phase."""

    def evaluate(self, method: Learner, num_tasks: int | None = None) -> "Scores":
        """Score the method on the test sets of the first `num_tasks` tasks (default: all)."""

    def validate(self, method: Learner, phase: int) -> float | None:
        """Score the method on the samples held out from a phase; None if there are none."""


@dataclass(frozen=True)
class Scores:
    """How a method does on each task.

    Attributes:
        per_task: Accuracy, the share of right predictions, on each task; where numbers are predicted, the RMSE; of
            environments, the mean return. None: not tested.
        top5: Share of samples whose class is among the five highest scores, if there are more than ten classes.
    """

    per_task: list[float | None]
    top5: list[float | None] | None = None


def known(means: Tensor) -> list[float | None]:
    """The values (T,) as a list: None for a task without samples, whose mean is NaN."""
    return [None if math.isnan(mean) else mean for mean in means.tolist()]


class _Sealing(ABCMeta):
    """Seals a setting once it is made, when all `__post_init__` have filled in and checked its options."""

    def __call__(cls, *args: Any, **options: Any) -> Any:
        setting = super().__call__(*args, **options)
        vars(setting)["_is_sealed"] = True
        return setting


@dataclass
class Setting(ABC, metaclass=_Sealing):
    """An evaluation protocol: a set of assumptions about how data arrives and what the learner is told.

    A node of the tree is a subclass that names what it adds, `class Child(Parent, task_ids=TaskIds.TEST)`; the names
    are the fields of `Assumptions`. They are merged over all bases and can only grow, so that a method which works on
    a setting works on all its descendants. Its options are fixed once it is made; a method gets a view of it, with the
    options and spaces that it may know and without the data.
    """

    assumptions: ClassVar[Assumptions] = Assumptions()

    seed: int = 0  # decides task order, splits, initial weights, shuffling and buffer draws
    # None means the default of the node. `__post_init__` puts it in, so a finished setting holds a number.
    workers: int = cast("int", None)  # worker processes that share the stream (default: 1; distributed settings: 2)
    eval_tasks: str = "all"  # tasks that are tested after each phase: all, or those seen so far

    def __init_subclass__(cls, **added: Any) -> None:
        """Merge the assumptions of the bases with the added ones.

        Raises:
            TypeError: If the result contradicts itself, or an inherited promise is taken back.
        """
        super().__init_subclass__()
        refuse_untyped_options(cls)
        inherited = [base.assumptions for base in cls.__bases__ if issubclass(base, Setting)]
        cls.assumptions = merge_assumptions(cls.__name__, inherited, added)

    def __post_init__(self) -> None:
        """Fill in what the node implies, and refuse what contradicts it.

        Raises:
            InvalidOptionError: If an option is out of range or contradicts the setting.
        """
        check_types(self)
        if self.seed < 0:
            raise InvalidOptionError(f"--seed {self.seed} has to be at least 0.")
        self.workers = self.resolve("workers", self.workers, default=1)
        check_choice(self, "eval_tasks", EVAL_TASKS)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute that is no option, or an option while the setting is made.

        Raises:
            InvalidOptionError: If the options have been checked, and stream and results may follow from them already.
        """
        if name in self.option_names() and "_is_sealed" in vars(self):
            raise InvalidOptionError(
                f"{name} of {type(self).__name__} is fixed once the setting is made; "
                f"make another one by dataclasses.replace(setting, {name}={value!r})."
            )
        super().__setattr__(name, value)

    def resolve(self, name: str, value: int | None, default: int) -> int:
        """The value of a free parameter, checked against what this node promises about it."""
        allowed = getattr(self.assumptions, name)
        if value is None:
            return int(allowed.clip(default))
        if value not in allowed:
            raise InvalidOptionError(
                f"--{name} {value} contradicts {type(self).__name__}, which needs {name}{allowed}; "
                f"leave --{name} out or choose another setting."
            )
        return value

    @property
    @abstractmethod
    def observation_space(self) -> gymnasium.spaces.Space[Any]:
        """What one sample or observation looks like."""

    @property
    @abstractmethod
    def action_space(self) -> gymnasium.spaces.Space[Any]:
        """What a method answers with: the classes, or an environment's actions."""

    @abstractmethod
    def open_stream(self) -> Stream:
        """Load the data and cut it into this worker's stream."""

    def phases(self) -> Iterator[Any]:
        """The phases of the stream, for a training loop of one's own."""
        self.check_not_a_view("phases")
        stream = self.open_stream()
        return (stream.phase(index) for index in range(stream.num_phases))

    def apply(self, method: Learner | None = None, **run_options: Any) -> "Results":
        """Train and evaluate `method` under this protocol.

        Args:
            method: The learner; afterwards it is in its trained state.
            **run_options: Fields of `redwood.runs.run.Run`: where to write, which accelerator, which logger.

        Returns:
            Accuracy matrix, metrics and cost.

        Raises:
            NotApplicableError: If the method asks for promises that this setting does not make.
            InvalidOptionError: If `method` is no method, or `Run` has no such option.
            RedwoodError: If an option or the data is unusable; nothing is written then.
        """
        from redwood.runs.launch import run_in_workers
        from redwood.runs.run import Run

        method = _checked_method(self, method)
        self.check_not_a_view("apply")
        known = {f.name for f in fields(Run)}
        for name in run_options:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}."
                raise InvalidOptionError(f"apply has no option {name}={run_options[name]!r}; {hint}")
        check_types(method)
        self.check_applicable(method)
        return run_in_workers(self, method, Run(**run_options))

    def check_applicable(self, method: Learner) -> None:
        """Raise `NotApplicableError` unless `method` applies to this setting with the values of its free parameters."""
        reason = why_not_applicable(type(self), type(method))
        if reason:
            raise NotApplicableError(reason)
        for requirement in sorted(method.requires):
            parameter, allowed = REQUIREMENTS[requirement]
            if not allowed(getattr(self, parameter)):
                raise NotApplicableError(
                    f"{type(method).__name__} requires {requirement.replace('_', ' ')}, "
                    f"but --{parameter} is {getattr(self, parameter)}."
                )

    def for_method(self) -> Self:
        """A copy that is safe to hand to a method: what is hidden is None, and no stream can be opened."""
        view = copy.copy(self)
        hidden = self.hidden_fields()
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, list | dict) and _is_plain(value):
                vars(view)[f.name] = copy.deepcopy(value)
        vars(view).update(dict.fromkeys(hidden), _is_view=True)
        return view

    def check_not_a_view(self, what: str) -> None:
        """Raise `HiddenError` if this is what a method was given; `what` it asks for is in the message."""
        if "_is_view" in vars(self):
            raise HiddenError(
                f"{what} is not for methods: their view of {type(self).__name__} has options and spaces only; "
                "the data comes in phases, by `fit`."
            )

    def hidden_fields(self) -> frozenset[str]:
        """Names of the fields that a method must not see."""
        return frozenset()

    @classmethod
    def option_names(cls) -> list[str]:
        """Names of the fields, i.e. of the command-line options."""
        return [f.name for f in fields(cls)]


def _is_plain(value: Any) -> bool:
    """Whether a value holds nothing but text and numbers."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, str | int | float)


def _checked_method(setting: Any, method: Any) -> Learner:
    """The method that `apply` was called with, once it is known to be one."""
    if not isinstance(setting, Setting):  # apply was called on a class, which makes the method its `self`
        raise InvalidOptionError(
            "apply needs an instance of the setting; make one first, as in ClassIncrementalSetting().apply(...)."
        )
    if isinstance(method, type):
        raise InvalidOptionError(f"apply needs a method, and {method.__name__} is a class; pass {method.__name__}().")
    if not all(hasattr(method, name) for name in ("target", "configure", "fit", "predict")):
        given = repr(method) if method is None or isinstance(method, str) else f"a {type(method).__name__}"
        raise InvalidOptionError(f"apply needs a method, such as redwood.methods.Rehearsal(), but got {given}.")
    return method  # type: ignore[no-any-return]


# What a method may require to stay open: the free parameter, and which of its values leave it open.
REQUIREMENTS: dict[str, tuple[str, Any]] = {
    "many_passes": ("passes", lambda value: value > 1),
    "one_worker": ("workers", lambda value: value == 1),
}


def why_not_applicable(setting: type[Setting], method: type[Learner]) -> str | None:
    """The one rule of applicability: None if `method` applies to `setting`, else why it does not, in one sentence."""
    return why_not_suitable(setting, method.__name__, method.target, method.requires)


def why_not_suitable(
    setting: type[Setting], method: str, target: type[Setting], requires: frozenset[str]
) -> str | None:
    """The same of a method whose class need not be loaded.

    Args:
        setting: The setting.
        method: Name of the method, for the sentence.
        target: The most general setting that the method applies to.
        requires: The free parameters that the setting must not pin.
    """
    if not issubclass(setting, target):
        return f"{method} targets {target.__name__} and the settings below it; {setting.__name__} is not one of them."
    for requirement in sorted(requires):
        if requirement not in REQUIREMENTS:
            return f"{method} requires {requirement!r}; known requirements: {', '.join(sorted(REQUIREMENTS))}."
        parameter, allowed = REQUIREMENTS[requirement]
        pinned = getattr(setting.assumptions, parameter)
        if not (allowed(pinned.low) or allowed(pinned.high if pinned.high is not None else pinned.low + 1)):
            return (
                f"{method} requires {requirement.replace('_', ' ')}, but {setting.__name__} pins {parameter}{pinned}."
            )
    return None
