"""A run, step by step: train on each phase, evaluate on every task after it, keep what an interruption would lose."""

import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from redwood.core.errors import RedwoodError
from redwood.core.schema import ANYTHING, ListOf, MapOf, Number, Record, check, check_alike
from redwood.core.seeding import seed_everything
from redwood.core.workers import gather_objects, rank, sum_over_workers, world_size
from redwood.runs.devices import peak_memory_bytes, rehearsal_cost
from redwood.runs.launch import check_can_be_sent
from redwood.runs.progress import Reporter, make_reporter
from redwood.runs.run import Run
from redwood.runs.signals import postponed, stop_if_asked, stop_signals
from redwood.settings.base import Setting
from redwood.settings.config import describe_run
from redwood.settings.protocols import AnyPhase, Learner, Scores, Stream
from redwood.settings.results import Cost, Results
from redwood.settings.table import name_of_setting

STATE_FORMAT = 3

EXPECTED_WARNINGS = (
    "You defined a `validation_step` but have no",  # validation is an option of the setting
    "Checkpoint directory",  # one folder serves all phases
    "The dirpath has changed",  # a run directory may be moved before it is resumed
    r"`isinstance\(treespec",  # Lightning on a newer torch
)


@dataclass
class Progress:
    """What a run has reached so far, besides the method's own state."""

    next_phase: int = 0
    rows: list[list[float | None]] = field(default_factory=list)
    untrained: list[float] | None = None
    top5: list[float | None] | None = None
    validation: list[float | None] = field(default_factory=list)
    curve: list[tuple[int, float]] = field(default_factory=list)
    curve_samples: int = 0
    training_samples: int = 0
    training_time_s: float = 0.0
    wall_time_s: float = 0.0
    global_step: int = 0


def run_protocol(setting: Setting, method: Learner, run: Run) -> Results:
    """Train and evaluate `method` under `setting`; every worker of the run calls this.

    Raises:
        RedwoodError: If an option or the data is unusable. Nothing has been written then.
    """
    # Takes seconds, which are not the run's, and sets the level of the messages that are kept back below.
    import pytorch_lightning  # noqa: F401

    threads = torch.get_num_threads()
    try:
        with quiet_lightning(), stop_signals(), postponed(ready=world_size() > 1):
            return _run_protocol(setting, method, run)
    finally:
        torch.set_num_threads(threads)
        run.unlock()


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep back what Lightning says of every Trainer: there is one per phase."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _run_protocol(setting: Setting, method: Learner, run: Run) -> Results:
    started = time.perf_counter()
    seed_everything(setting.seed, "weights")
    stream = setting.open_stream()
    run.num_phases = stream.num_phases
    stream.check(method)
    method.attach(run)
    method.configure(setting.for_method())
    if run.sends_back:
        check_can_be_sent(method)
    config = describe_run(setting, method, run)
    run.fingerprint.config, run.fingerprint.data = config, stream.fingerprint()
    state = run.load_boundary()
    progress = _restore(state, stream, method)
    if state is None:
        run.create(config)
    run.start_logging(config)
    run.global_step = progress.global_step
    reporter = make_reporter(run, stream.num_phases, stream.results_type.measure)
    started -= progress.wall_time_s
    try:
        with reporter:
            if state is None:
                progress.untrained = stream.baseline(method)
                _save(progress, method, run)
            for index in range(progress.next_phase, stream.num_phases):
                stop_if_asked()
                row = _run_phase(setting, stream, index, method, run, progress, reporter)
                started -= run.earlier_s
                progress.wall_time_s = time.perf_counter() - started
                # Logged before it is saved: a run that is killed in between logs the phase again instead of never.
                run.log(row)
                run.save_logs()
                _save(progress, method, run)
    except BaseException:
        run.abandon()
        raise
    progress.wall_time_s = time.perf_counter() - started
    results = _results(setting, stream, method, config, progress)
    method.on_finish(results)
    _tell_if_idle(method)
    run.finish(results)
    return results


def _run_phase(
    setting: Setting,
    stream: Stream,
    index: int,
    method: Learner,
    run: Run,
    progress: Progress,
    reporter: Reporter,
) -> dict[str, float]:
    """Train, evaluate and take note of both; what is logged of the phase comes back."""
    seed_everything(setting.seed, "phase", index, rank())
    phase = stream.phase(index)
    reporter.phase_started(index, phase.steps)
    run.reporter = reporter
    run.start_phase()
    if setting.assumptions.boundaries:
        method.on_task_start(phase.task_id)
    method.fit(phase)
    if setting.assumptions.boundaries:
        method.on_task_end(phase.task_id)
    if run.sends_back:
        check_can_be_sent(method)
    phase.close()
    progress.training_time_s += run.phase_seconds()
    seen = stream.tasks_seen(index)
    scores = stream.evaluate(method, seen if setting.eval_tasks == "seen" else None)
    held_out = stream.validate(method, index)
    _count(phase, progress)
    progress.validation.append(held_out)
    progress.rows.append(scores.per_task)
    progress.top5 = scores.top5
    progress.next_phase = index + 1
    progress.global_step = run.global_step
    reporter.phase_finished(index, _mean(scores.per_task[:seen]))
    return _row_metrics(scores, held_out, stream, index)


def _tell_if_idle(method: Learner) -> None:
    """Warn of a method that did no more than plain training; results alone would not show why."""
    reason = method.never_acted()
    if reason is not None and rank() == 0:
        warnings.warn(reason, stacklevel=2)


def _count(phase: AnyPhase, progress: Progress) -> None:
    served = sum_over_workers(torch.tensor(phase.samples_served))
    progress.training_samples += int(served)
    progress.curve += [(progress.curve_samples + seen, value) for seen, value in phase.online.curve()]
    progress.curve_samples += phase.online.span()


def _row_metrics(scores: Scores, held_out: float | None, stream: Stream, index: int) -> dict[str, float]:
    """What is logged of a phase; names mean what they do in `results.json`, which averages over the tasks so far."""
    key, values = stream.results_type.measure.key, scores.per_task
    row = {f"{key}/task_{task}": value for task, value in enumerate(values) if value is not None}
    row |= {"phase": index, f"average_{key}": _mean(values[: stream.tasks_seen(index)])}
    if None not in values:
        row[f"average_{key}_all_tasks"] = _mean(values)
    if held_out is not None:
        row[f"validation_{key}"] = held_out
    return row


def _mean(values: Sequence[float | None]) -> float:
    """The mean of what was measured."""
    measured = [value for value in values if value is not None]
    return sum(measured) / len(measured)


def _save(progress: Progress, method: Learner, run: Run) -> None:
    if run.directory is None:
        return
    states = gather_objects(method.state_dict())
    run.save_boundary({"format": STATE_FORMAT, **vars(progress), "method": states})


def _restore(state: dict[str, Any] | None, stream: Stream, method: Learner) -> Progress:
    """All of the state is looked at before any of it is taken over."""
    if state is None:
        return Progress()
    if state.get("format") != STATE_FORMAT:
        raise RedwoodError("The run was saved by another version of redwood; start it anew.")
    check(state, _state_spec(stream), "The state in checkpoints/boundary.pt")
    del state["format"]
    own = state.pop("method")[rank()]
    check_alike(own, method.state_dict(), "The checkpoint checkpoints/boundary.pt")
    method.load_state_dict(own)
    state["curve"] = [tuple(point) for point in state["curve"]]
    return Progress(**state)


def _state_spec(stream: Stream) -> Record:
    """What a checkpoint between two phases holds."""
    values = ListOf(Number(), length=stream.num_tasks, optional=True)
    count, seconds = Number(low=0, whole=True), Number(low=0)
    return Record(
        {
            "format": count,
            "next_phase": Number(low=0, high=stream.num_phases, whole=True),
            "rows": ListOf(ListOf(Number(optional=True), length=stream.num_tasks)),
            "untrained": values,
            "top5": ListOf(Number(optional=True), length=stream.num_tasks, optional=True),
            "validation": ListOf(Number(optional=True)),
            "curve": ListOf(ListOf(Number(), length=2)),
            "curve_samples": count,
            "training_samples": count,
            "training_time_s": seconds,
            "wall_time_s": seconds,
            "global_step": count,
            "method": ListOf(MapOf(ANYTHING), length=world_size()),
        }
    )


def _results(setting: Setting, stream: Stream, method: Learner, config: dict[str, Any], progress: Progress) -> Results:
    costs = method.costs()
    totals = sum_over_workers(torch.tensor([costs["training_flops"], costs["buffer_bytes"]], dtype=torch.float64))
    memory = max(gather_objects(peak_memory_bytes()))
    return stream.results_type(
        setting=name_of_setting(type(setting)),
        method=method.reference(),
        dataset=setting.dataset_name,
        seed=setting.seed,
        num_phases=stream.num_phases,
        accuracy_matrix=progress.rows,
        untrained_accuracy=progress.untrained,
        online_curve=progress.curve,
        top5_accuracy=progress.top5,
        validation=[] if set(progress.validation) == {None} else progress.validation,
        config=config | stream.drawn(),
        cost=Cost(
            wall_time_s=progress.wall_time_s,
            training_samples=progress.training_samples,
            samples_per_s=progress.training_samples / max(progress.training_time_s, 1e-9),
            training_flops=float(totals[0]),
            parameters=int(costs["parameters"]),
            peak_memory_bytes=memory,
            buffer_bytes=int(totals[1]),
            rehearsal=rehearsal_cost(gather_objects(costs.get("rehearsal"))),
        ),
        **stream.result_fields(),
    )
