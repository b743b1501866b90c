"""The root of the tree: the base class of settings, and the rule that decides which methods apply."""

import copy
import difflib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self, TypeGuard, cast

from redwood.core.checks import check_types, refuse_untyped_options
from redwood.core.errors import HiddenError, InvalidOptionError, NotApplicableError, PinnedOptionError
from redwood.core.overrides import refuse_taken_options, warn_of_misnamed
from redwood.core.parts import Choice, Sealed, check_suitable, kinds_of, make_parts, refuse_unused
from redwood.settings.assumptions import Assumptions, Range, merge_assumptions
from redwood.settings.eval_tasks import EVAL_TASKS
from redwood.settings.protocols import AnyPhase, Learner, Stream
from redwood.settings.scores.answers import Space
from redwood.settings.scores.results import Results
from redwood.settings.table import name_of_setting, not_below


@dataclass
class Setting(Sealed):
    """An evaluation protocol: a set of assumptions about how data arrives and what a method is told.

    A node of the tree is a subclass that names the assumptions that it adds: `class Child(Parent,
    task_ids=TaskIds.TEST)`. The keywords are the fields of `Assumptions`, and assumptions that its file declares; see
    `redwood.settings.assumptions.Assumption`. Those of all bases are merged and can only grow. So a method that works
    on a setting works on all its descendants.

    The fields are the options. They are fixed once the setting is made. A method gets a view of the setting: the
    options and spaces that it may know, without the data.
    """

    assumptions: ClassVar[Assumptions] = Assumptions()
    hooks: ClassVar[tuple[str, ...]] = ()  # methods of a method that only this setting and its children call
    unused_options: ClassVar[Mapping[str, str]] = {}  # inherited options that are refused, and why, after a comma

    seed: int = 0  # seed of task order, splits, initial weights, shuffling and buffer draws
    # None means the default of the node. `__post_init__` puts it in, so a finished setting holds a number.
    workers: int = cast("int", None)  # worker processes that share the stream (default: 1; distributed settings: 2)
    eval_tasks: Choice = EVAL_TASKS.chosen("all")  # tasks that are tested after each phase

    def __init_subclass__(cls, **added: object) -> None:
        """Merge the assumptions of the bases with the added ones.

        Raises:
            TypeError: If the assumptions contradict each other, or take back one of a base.
        """
        super().__init_subclass__()
        refuse_untyped_options(cls)
        if not cls.__module__.startswith("redwood."):
            refuse_taken_options(cls)
        warn_of_misnamed(cls, 3)  # past the metaclass: the class statement
        inherited = [base.assumptions for base in cls.__bases__ if issubclass(base, Setting)]
        cls.assumptions = merge_assumptions(cls.__name__, cls.__module__, inherited, added)

    def __post_init__(self) -> None:
        """Fill in the defaults of the node, and check the options.

        Raises:
            InvalidOptionError: If an option is out of range or contradicts the setting.
        """
        make_parts(self)
        check_types(self)
        check_suitable(self, type(self))
        refuse_unused(self, self.unused_options, name_of_setting(type(self)))
        if self.seed < 0:
            raise InvalidOptionError(f"--seed {self.seed} has to be at least 0.")
        self.workers = self.resolve("workers", self.workers, default=1)

    def resolve(self, name: str, value: int | None, default: int) -> int:
        """The value of a free parameter (`workers`, `passes`).

        Args:
            name: The parameter.
            value: The value that was given; None stands for the default.
            default: The default. Where the node allows other values only, the nearest one is taken.

        Raises:
            PinnedOptionError: If the node does not allow the value.
        """
        allowed: Range = getattr(self.assumptions, name)
        if value is None:
            return allowed.clip(default)
        if value not in allowed:
            raise PinnedOptionError(
                f"--{name} {value} contradicts {type(self).__name__}, which needs {name}{allowed}; "
                f"leave --{name} out or choose another setting."
            )
        return value

    @classmethod
    def option_names(cls) -> list[str]:
        """Names of the fields, which are the command-line options."""
        return [f.name for f in fields(cls)]

    @property
    @abstractmethod
    def observation_space(self) -> Space:
        """The space of one sample or observation."""

    @property
    @abstractmethod
    def action_space(self) -> Space:
        """The space of a method's answers: classes, numbers, or an environment's actions."""

    @property
    def dataset_name(self) -> str:
        """The name of the data set or the environment in results."""
        return ""

    @abstractmethod
    def open_stream(self) -> Stream:
        """Load the data and cut it into this worker's stream."""

    def phases(self) -> Iterator[AnyPhase]:
        """The phases of the stream, for your own training loop."""
        self.check_not_a_view("phases")
        stream = self.open_stream()
        return (stream.phase(index) for index in range(stream.num_phases))

    def apply(self, method: Learner | None = None, **run_options: Any) -> Results:
        """Train and evaluate `method` under this protocol.

        Args:
            method: The learner. Afterwards it is in its trained state.
            **run_options: Fields of `redwood.engine.run.Run`: where to write, which accelerator, which logger.

        Returns:
            Accuracy matrix, metrics and cost.

        Raises:
            NotApplicableError: If the method needs promises that this setting does not make.
            InvalidOptionError: If `method` is no method, or `Run` has no such option.
            RedwoodError: If an option or the data is unusable; nothing is written then.
        """
        # Runs are built on settings. This call is the only way up, so it is imported here.
        from redwood.engine import launch, run

        method = _checked_method(self, method)
        self.check_not_a_view("apply")
        known = {f.name for f in fields(run.Run)}
        for name in run_options:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}."
                raise InvalidOptionError(f"apply has no option {name}={run_options[name]!r}; {hint}")
        make_parts(method)  # anew, as a user may have set another one
        check_types(method)
        check_suitable(method, type(self))
        self.check_applicable(method)
        return launch.run_in_workers(self, method, run.Run(**run_options))

    def check_applicable(self, method: Learner) -> None:
        """Raise `NotApplicableError` unless `method` applies to this setting with its values of `workers`, `passes`."""
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
        """A view that is safe to hand to a method: hidden fields are None, parts are names, and it opens no stream."""
        view = copy.copy(self)
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, list | dict) and _is_plain(value):
                vars(view)[f.name] = copy.deepcopy(value)
        names = {name: kind.text_of(getattr(self, name)) for name, kind in kinds_of(type(self)).items()}
        vars(view).update(names | dict.fromkeys(self.hidden_fields()), _is_view=True)
        return view

    def hidden_fields(self) -> frozenset[str]:
        """Names of the fields that a method must not see."""
        return frozenset()

    def check_not_a_view(self, name: str) -> None:
        """Raise `HiddenError` if this setting is the view of a method; the message says that `name` is hidden."""
        if "_is_view" in vars(self):
            raise HiddenError(
                f"{name} is not for methods: their view of {type(self).__name__} has options and spaces only; "
                "the data comes in phases, by `fit`."
            )


def _is_plain(value: object) -> bool:
    """True if a value holds only text and numbers."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, str | int | float)


def _checked_method(setting: object, method: object) -> Learner:
    """The method that `apply` was called with.

    Raises:
        InvalidOptionError: If it is no method, or `apply` was called on a class.
    """
    if not isinstance(setting, Setting):  # `apply` was called on a class, so the method stands in place of `self`
        raise InvalidOptionError(
            "apply needs an instance of the setting; make one first, as in ClassIncrementalSetting().apply(...)."
        )
    if isinstance(method, type):
        raise InvalidOptionError(f"apply needs a method, and {method.__name__} is a class; pass {method.__name__}().")
    if not _is_learner(method):
        given = repr(method) if method is None or isinstance(method, str) else f"a {type(method).__name__}"
        raise InvalidOptionError(f"apply needs a method, such as redwood.methods.Rehearsal(), but got {given}.")
    return method


def _is_learner(method: object) -> TypeGuard[Learner]:
    return all(hasattr(method, name) for name in ("target", "configure", "fit", "predict"))


# Requirements of methods: the free parameter, and the test of its values.
REQUIREMENTS: dict[str, tuple[str, Callable[[int], bool]]] = {
    "many_passes": ("passes", lambda value: value > 1),
    "one_worker": ("workers", lambda value: value == 1),
}


def why_not_applicable(setting: type[Setting], method: type[Learner]) -> str | None:
    """The one rule of applicability: None if `method` applies to `setting`, else the reason, in one sentence."""
    return why_not_suitable(setting, method.__name__, method.target, method.requires)


def why_not_suitable(
    setting: type[Setting], method: str, target: type[Setting], requires: frozenset[str]
) -> str | None:
    """The same rule for a method whose class is not loaded.

    Args:
        setting: The setting.
        method: Name of the method, for the sentence.
        target: The most general setting that the method applies to.
        requires: Requirements of the method; the setting must not pin their free parameters to other values.
    """
    if not issubclass(setting, target):
        return not_below(setting.__name__, method, target.__name__)
    for requirement in sorted(requires):
        if requirement not in REQUIREMENTS:
            return f"{method} requires {requirement!r}; known requirements: {', '.join(sorted(REQUIREMENTS))}."
        parameter, allowed = REQUIREMENTS[requirement]
        pinned: Range = getattr(setting.assumptions, parameter)
        if not (allowed(pinned.low) or allowed(pinned.high if pinned.high is not None else pinned.low + 1)):
            return (
                f"{method} requires {requirement.replace('_', ' ')}, but {setting.__name__} pins {parameter}{pinned}."
            )
    return None
