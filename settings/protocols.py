"""Protocols of a method, as settings use it, and of a stream and its phases, as runs use them.

Classes need not inherit from these protocols; it suffices to have the methods.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Protocol

from torch import Tensor

from redwood.core.checks import Options
from redwood.core.errors import InvalidOptionError
from redwood.core.state import State
from redwood.settings.data.classes import Classes
from redwood.settings.scores.results import Results
from redwood.settings.scores.task_scores import Scores


class Learner(Options, Protocol):
    """A method, as a setting uses it. The base class `redwood.methods.Method` has all of these members.

    `Any` stands where a method may name the class that it needs: `configure(self, setting: SupervisedSetting)`.
    """

    target: ClassVar[type[Any]]  # the most general setting that the method applies to
    requires: ClassVar[frozenset[str]]
    regression: ClassVar[bool]
    multi_label: ClassVar[bool]

    @classmethod
    def reference(cls) -> str:
        """The key of the method, or the reference that loads its class."""

    def attach(self, run: Any) -> None:
        """Receive the `Run`: device, loggers, checkpoints."""

    def configure(self, setting: Any) -> None:
        """Prepare for the setting: build the network."""

    def on_task_start(self, task_id: int | None) -> None:
        """A task starts. The id is None where the phase holds several tasks."""

    def fit(self, phase: Any) -> None:
        """Learn from one phase: a `Phase`, or a `ReinforcementPhase`."""

    def on_task_end(self, task_id: int | None) -> None:
        """A task is over."""

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Return classes (B,), scores (B, K), or numbers (B,) or (B, d) for samples (B, ...); or actions."""

    def on_finish(self, results: Results) -> None:
        """The run is over."""

    def never_acted(self) -> str | None:
        """A sentence if the method did nothing more than plain training; None if it did."""

    def state_dict(self) -> State:
        """All that was learned, as tensors and plain values."""

    def load_state_dict(self, state: State) -> None:
        """Continue from an earlier state."""

    def state_for_other_workers(self, states: list[State]) -> State:
        """This worker's state, made of those of another number of workers."""

    def grow_state(self, saved: State, smaller: Any) -> State:
        """The state of a method with fewer outputs, in the form of this one."""

    def costs(self) -> State:
        """`training_flops`, `parameters` and `buffer_bytes` of this worker so far; `flops` by use, if it knows them."""


class OnlineCurve(Protocol):
    """The score of a phase while it is trained. Every worker has to call these methods."""

    def curve(self) -> list[tuple[int, float]]:
        """Points: samples of this phase seen, and the value since the point before."""

    def span(self) -> int:
        """The number of samples of this phase that the curve covers."""


class AnyPhase(Protocol):
    """A supervised or reinforcement phase, as a run uses it."""

    index: int
    task_id: int | None

    @property
    def online(self) -> OnlineCurve:
        """The score while the phase is trained."""

    @property
    def steps(self) -> int:
        """Training steps, or environment steps, of the phase."""

    @property
    def samples_served(self) -> int:
        """Samples, or environment steps, that this worker has trained on so far."""

    @property
    def inputs_digest(self) -> int | None:
        """Digest of the samples that this worker has trained on so far, in their order; None: it has none."""

    def close(self) -> None:
        """End the phase and free its data."""


class Stream(Protocol):
    """The data of one run. It stays with the setting: a method sees only the phases and the test samples."""

    num_phases: int
    num_tasks: int
    results_type: type[Results]
    note: str  # what a run tells the user of its data in its first line; empty: nothing

    @property
    def first_task(self) -> int:
        """Number of the run's first task in the whole stream; seeds of a phase count from it."""

    def phase(self, index: int, learner: Learner | None = None) -> AnyPhase:
        """Build one phase; `learner` is the method that will train in it."""

    def decoding(self, workers: int | None, *, share: int, pin_memory: bool) -> AbstractContextManager[None]:
        """Inside the block, worker processes decode samples that are not in memory; none of them outlives it.

        Args:
            workers: The option `num_workers`; None: the default.
            share: Number of training processes on this machine.
            pin_memory: Whether decoded samples go to a GPU.

        Raises:
            InvalidOptionError: If `workers` has no effect.
        """

    def learning_curve(self, phase: int) -> list[float | None] | None:
        """Test accuracy of the method before the first mini-batches of a phase; None if it was not measured."""

    def tasks_seen(self, phase: int) -> int:
        """Return the number of tasks, counted from the first, that have been trained by the end of a phase."""

    def check(self, method: Learner) -> None:
        """Raise `NotApplicableError` if the method cannot learn from data of this kind."""

    def baseline(self, method: Learner) -> list[float] | None:
        """The score of each task before any training; None if it is undefined."""

    def evaluate(self, method: Learner, num_tasks: int | None = None) -> Scores:
        """Score the method on the test sets of the first `num_tasks` tasks (default: all)."""

    @property
    def holds_out(self) -> bool:
        """True if samples of any phase are held out for `validate`."""

    def validate(self, method: Learner, phase: int) -> list[float | None] | None:
        """Score the method on the samples held out from each phase so far.

        Args:
            method: The method.
            phase: The phase that was trained last.

        Returns:
            One score for each phase up to this one. None for a phase that has no such samples, or whose samples are
            among those of a later one. None instead of the list if no samples are held out at all.
        """

    def phase_over(self, index: int, method: Learner, scores: Scores) -> State | None:
        """End a phase that was trained and scored. Decide here what depends on the method in later phases.

        Returns:
            Plain values of the phase, for `restore` and `result_fields`: `scores.details`, or more than these.
        """

    def restore(self, details: list[State]) -> None:
        """Continue after the phases that have these details."""

    def result_fields(self, details: list[State]) -> State:
        """Fields of the results that the stream fills in; `details` are those of each phase."""

    def classes(self) -> Classes:
        """Return the names of the classes, and the classes that each output stands for."""

    def class_names(self) -> tuple[str, ...]:
        """The name of each output (K,); empty where the data has none."""

    def task_names(self) -> tuple[str, ...]:
        """The name of each task of the run (T,); empty where the data has none."""

    def drawn(self) -> dict[str, object]:
        """Random draws of the stream that results keep beside the options."""

    def fingerprint(self) -> dict[str, object]:
        """Plain values that differ where the data or the environments differ."""


class FixedStream:
    """Base of streams that no method changes, and that measure nothing but `evaluate`: the other hooks of `Stream`."""

    note: str = ""

    def decoding(self, workers: int | None, *, share: int, pin_memory: bool) -> AbstractContextManager[None]:
        """Nothing is decoded."""
        if workers:
            raise InvalidOptionError(f"--num_workers {workers} has no effect without samples in files; leave it out.")
        return nullcontext()

    def learning_curve(self, phase: int) -> list[float | None] | None:
        """None: it is not measured."""
        return None

    @property
    def holds_out(self) -> bool:
        """No samples are held out."""
        return False

    def validate(self, method: Learner, phase: int) -> list[float | None] | None:
        """None: no samples are held out."""
        return None

    def phase_over(self, index: int, method: Learner, scores: Scores) -> State | None:
        """Nothing follows from the phase: what comes next was decided beforehand."""
        return scores.details

    def restore(self, details: list[State]) -> None:
        """Nothing: the stream follows from the options."""

    def classes(self) -> Classes:
        """None: the outputs stand for no classes with names."""
        return Classes()

    def class_names(self) -> tuple[str, ...]:
        """The names of `classes`."""
        return self.classes().names

    def task_names(self) -> tuple[str, ...]:
        """None: the tasks have no names."""
        return ()
