"""The state of a run besides that of its method, in checkpoints between phases and in later runs."""

import copy
from dataclasses import dataclass, field, fields

from redwood.core.errors import RedwoodError
from redwood.core.schema import ANYTHING, ListOf, MapOf, Number, Record, check, check_alike
from redwood.core.state import State
from redwood.core.workers import rank, world_size
from redwood.engine.cost import Flops, flops_so_far
from redwood.engine.earlier import EarlierRun
from redwood.engine.run import Run
from redwood.settings.protocols import Learner, Stream
from redwood.settings.scores.cost import USES
from redwood.settings.scores.results_schema import REPRODUCTION

STATE_FORMAT = 17


@dataclass
class RunState:
    """The state of a run so far, besides the state of the method; a checkpoint between phases holds it.

    Attributes:
        next_phase: The phase to train next.
        rows: Scores on each task after each phase.
        untrained: Scores on each task before the first phase, if they are known.
        top5: Top-5 accuracy on each task after the last phase.
        slices: Scores on each slice after the last phase, as plain values; empty where there are none.
        validation: Scores on the samples held out from each phase so far, after each phase; empty if there are none.
        learning_curves: Test accuracy before the first mini-batches of each phase, if it is measured.
        curve: Points of the online curve: samples seen, value.
        curve_samples: Samples in the online curve.
        training_samples: Samples trained on by all workers.
        training_time_s: Seconds of training.
        evaluation_time_s: Seconds of the scores on tests and on held-out samples.
        wall_time_s: Seconds of the run, once its data and its method are ready.
        global_step: Training steps.
        flops: FLOPs of each use in each phase, of all workers.
        validation_flops: FLOPs of all workers for the scores on held-out samples that the run itself computes.
        flops_before: FLOPs of each use by the method before this run, if it goes on from an earlier one.
        phases_before: Phases that the method was trained in before this run, likewise.
        reproduction: Digests and the environment, as `redwood.engine.digests` records them; empty without a run folder.
    """

    next_phase: int = 0
    rows: list[list[float | None]] = field(default_factory=list)
    untrained: list[float] | None = None
    top5: list[float | None] | None = None
    slices: State = field(default_factory=dict)
    validation: list[list[float | None]] = field(default_factory=list)
    learning_curves: list[list[float | None]] = field(default_factory=list)
    details: list[State] = field(default_factory=list)
    curve: list[tuple[int, float]] = field(default_factory=list)
    curve_samples: int = 0
    training_samples: int = 0
    training_time_s: float = 0.0
    evaluation_time_s: float = 0.0
    wall_time_s: float = 0.0
    global_step: int = 0
    flops: Flops = field(default_factory=lambda: {use: [] for use in USES})
    validation_flops: float = 0.0
    flops_before: dict[str, float] = field(default_factory=dict)
    phases_before: int = 0
    reproduction: State = field(default_factory=dict)


def restore(saved: State | None, stream: Stream, method: Learner) -> RunState:
    """Load the state that a resumed run goes on from; all of it is checked before any of it is used."""
    if saved is None:
        return RunState()
    check_format(saved)
    check(saved, _spec(stream), "The state in checkpoints/boundary.pt")
    del saved["format"], saved["signature"]
    states = saved.pop("method")
    own = states[rank()] if len(states) == world_size() else method.state_for_other_workers(states)
    check_alike(own, method.state_dict(), "The checkpoint checkpoints/boundary.pt")
    method.load_state_dict(own)
    stream.restore(saved["details"])
    saved["curve"] = [tuple(point) for point in saved["curve"]]
    return RunState(**saved)


def extend(earlier: EarlierRun, stream: Stream, method: Learner, run: Run) -> RunState:
    """Take over what an earlier run has learned, and its results where its tasks are tested on."""
    earlier.hand_over(method)
    if not earlier.goes_on:
        return RunState(flops_before=flops_so_far(method, 0.0), phases_before=earlier.phases_before)
    own = {f.name: copy.deepcopy(earlier.state[f.name]) for f in fields(RunState)}
    new_tasks = [None] * (stream.num_tasks - len(own["rows"][0]))
    own["rows"] = [row + new_tasks for row in own["rows"]]
    own["curve"] = [tuple(point) for point in own["curve"]]
    run.global_step = own["global_step"]
    if run.folder is not None:
        run.folder.logged = earlier.log
    stream.restore(own["details"])
    return RunState(**own | {"untrained": None})


def check_format(saved: State) -> None:
    """Raise `RedwoodError` if a checkpoint between two phases was written by another version of redwood."""
    if saved.get("format") != STATE_FORMAT:
        raise RedwoodError("The run was saved by another version of redwood; start it anew.")


def _spec(stream: Stream) -> Record:
    """Return the schema of a checkpoint between two phases."""
    values = ListOf(Number(), length=stream.num_tasks, optional=True)
    count, seconds = Number(low=0, whole=True), Number(low=0)
    return Record(
        {
            "format": count,
            "next_phase": Number(low=0, high=stream.num_phases, whole=True),
            "rows": ListOf(ListOf(Number(optional=True), length=stream.num_tasks)),
            "untrained": values,
            "top5": ListOf(Number(optional=True), length=stream.num_tasks, optional=True),
            "slices": MapOf(ANYTHING),
            "validation": ListOf(ListOf(Number(optional=True))),
            "learning_curves": ListOf(ListOf(Number(optional=True))),
            "details": ListOf(MapOf(ANYTHING)),
            "curve": ListOf(ListOf(Number(), length=2)),
            "curve_samples": count,
            "training_samples": count,
            "training_time_s": seconds,
            "evaluation_time_s": seconds,
            "wall_time_s": seconds,
            "global_step": count,
            "flops": Record(dict.fromkeys(USES, ListOf(Number(low=0)))),
            "validation_flops": Number(low=0),
            "flops_before": MapOf(Number(low=0)),
            "phases_before": count,
            "reproduction": REPRODUCTION,
            "method": ListOf(MapOf(ANYTHING), least=1),
            "signature": MapOf(ANYTHING),
        }
    )
