"""A run, step by step: train on each phase, evaluate on every task after it, and save a checkpoint.

`run_protocol` is the way in, on every worker. A resumed run goes on from what
`redwood.engine.run_state` restores.
"""

import logging
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import NamedTuple

import pytorch_lightning  # noqa: F401  # import it before `quiet_lightning` sets log levels: the import resets them
import torch
from torch.utils.flop_counter import FlopCounterMode

from redwood.core.errors import DataError
from redwood.core.parts import flat
from redwood.core.seeding import seed_everything
from redwood.core.state import State
from redwood.core.user_warnings import warn
from redwood.core.workers import gather_objects, rank, sum_over_workers, world_size
from redwood.engine.cost import add_phase, measure_cost
from redwood.engine.digests import add_inputs, add_state, start_sitting
from redwood.engine.loggers import close_loggers, open_loggers
from redwood.engine.names import names_in_logs, short_name
from redwood.engine.progress import make_reporter
from redwood.engine.run import Run
from redwood.engine.run_state import STATE_FORMAT, RunState, extend, restore
from redwood.engine.sending import check_can_be_sent
from redwood.engine.signals import postpone_signals, stop_signals
from redwood.engine.stop_vote import stop_if_requested
from redwood.settings.base import Setting
from redwood.settings.config import CONFIG_FORMAT, FORMAT_KEY, describe_run
from redwood.settings.protocols import AnyPhase, Learner, Stream
from redwood.settings.scores.results import Results
from redwood.settings.scores.slices import SliceScores
from redwood.settings.scores.task_scores import Scores
from redwood.settings.signature import Signature
from redwood.settings.table import name_of_setting

EXPECTED_WARNINGS = (
    "You defined a `validation_step` but have no",  # validation is an option of the setting
    "Checkpoint directory",  # one folder serves all phases
    "The dirpath has changed",  # a run folder may be moved before it is resumed
    "The `srun` command is available",  # redwood starts its workers itself
    r"`isinstance\(treespec",  # Lightning on a newer torch
)

# What may help a method that ends with one class for every sample, by the option.
_REMEDIES = {"lr": "another --lr", "passes": "more --passes"}


class _Parts(NamedTuple):
    """The objects that every step of a run needs."""

    setting: Setting
    stream: Stream
    method: Learner
    run: Run
    state: RunState
    signature: Signature
    config: State


def run_protocol(setting: Setting, method: Learner, run: Run) -> Results:
    """Train and evaluate `method` under `setting`; every worker of the run calls this.

    Raises:
        RedwoodError: If an option or the data is unusable. Nothing has been written then.
    """
    threads = torch.get_num_threads()
    try:
        with quiet_lightning(), stop_signals(), postpone_signals(when=world_size() > 1):
            return _run(setting, method, run)
    finally:
        torch.set_num_threads(threads)
        if run.folder is not None:
            run.folder.unlock()


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Suppress what Lightning prints about every Trainer: there is one per phase."""
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


def _run(setting: Setting, method: Learner, run: Run) -> Results:
    seed_everything(setting.seed, "weights")
    stream = setting.open_stream()
    run.num_phases = stream.num_phases + (0 if run.context.earlier is None else run.context.earlier.phases_before)
    stream.check(method)
    workers, on_gpu = setting.workers, run.device(setting.workers).type == "cuda"
    decoding = stream.decoding(run.num_workers, share=workers // run.nodes, pin_memory=on_gpu)
    method.attach(run)
    method.configure(setting.for_method())
    if run.sends_back:
        check_can_be_sent(method)
    config = describe_run(setting, method, run)
    saved = None
    if run.folder is not None:
        run.folder.fingerprint.config, run.folder.fingerprint.data = flat(config), stream.fingerprint()
        saved = run.folder.load()
    if saved is None and run.context.earlier is not None:
        state = extend(run.context.earlier, stream, method, run)
    else:
        state = restore(saved, stream, method)
    if run.folder is not None and saved is None:
        run.folder.create({FORMAT_KEY: CONFIG_FORMAT, **config})
    if run.folder is not None:
        start_sitting(state.reproduction, run.device(workers), state.next_phase, run.folder.fingerprint.data)
    open_loggers(run, flat(config))
    run.global_step = state.global_step
    # Not before: the first run of a process imports libraries and reads the data, which later runs find in memory.
    started = time.perf_counter() - state.wall_time_s
    try:
        parts = _Parts(setting, stream, method, run, state, Signature.of(setting, stream), config)
        with decoding:
            started = _train_phases(parts, started, resumed=saved is not None)
    except BaseException:
        close_loggers(run, failed=True)
        raise
    state.wall_time_s = time.perf_counter() - started
    results = _results(parts)
    method.on_finish(results)
    _warn_if_idle(method)
    _warn_if_collapsed(results)
    _write_results(run, results)
    close_loggers(run, failed=False)
    return results


def _train_phases(parts: _Parts, started: float, resumed: bool) -> float:
    """Train the phases that are left.

    Args:
        parts: The run.
        started: When the run started, by `time.perf_counter`.
        resumed: Whether the run goes on from a checkpoint.

    Returns:
        When the run would have started without the interruption.
    """
    setting, stream, method, run, state, _, _ = parts
    with make_reporter(run.quiet, stream.num_phases, stream.results_type.measure) as run.reporter:
        if stream.note:
            run.reporter.note(stream.note)
        if resumed or run.context.earlier is not None:
            run.reporter.note(_where_it_goes_on(parts, resumed))
        if not resumed:
            if run.context.earlier is None and setting.eval_tasks.tests:
                with _evaluation_timed(state):
                    state.untrained = stream.baseline(method)
            _save(parts)
        for index in range(state.next_phase, stream.num_phases):
            stop_if_requested()
            if _is_over(parts):
                break
            row = _run_phase(parts, index)
            started -= run.earlier_s
            state.wall_time_s = time.perf_counter() - started
            # Logged before it is saved: a run that is killed in between logs the phase again instead of never.
            run.log(row)
            run.save_logs()
            _save(parts)
    return started


def _where_it_goes_on(parts: _Parts, resumed: bool) -> str:
    """Say where a resumed or extending run goes on; and, for a resumed run, how long it took until then."""
    stream, run, state = parts.stream, parts.run, parts.state
    before = f"{state.wall_time_s:.1f} s until then"
    if not resumed:
        assert run.context.earlier is not None
        trained = state.next_phase + run.context.earlier.phases_before
        return f"goes on from the run in {run.context.earlier.folder}, after its {trained} phases"
    if state.next_phase == stream.num_phases:
        return f"all {stream.num_phases} phases are trained; {before}"
    where = f"phase {state.next_phase + 1}/{stream.num_phases}"
    if run.checkpoint_to_resume(state.next_phase):  # how long the phase took so far is not read yet
        step = run.folder.step_inside if run.folder is not None else None
        behind = "" if step is None else f", after its step {step}"
        return f"goes on inside {where}{behind}; {state.wall_time_s:.1f} s before that phase"
    return f"goes on with {where}; {before}"


def _is_over(parts: _Parts) -> bool:
    """True if a run that tries options ends before its next phase."""
    trial = parts.run.context.trial
    if trial is None:
        return False
    results = _results(parts)
    return trial.is_over(results.tuning_curve, lower_is_better=results.lower_is_better)


def _run_phase(parts: _Parts, index: int) -> dict[str, float]:
    """Train on a phase, evaluate, and record both; returns the values to log."""
    setting, stream, method, run, state, _, _ = parts
    seed_everything(setting.seed, "phase", stream.first_task + index, rank())
    phase = stream.phase(index, method)
    run.reporter.phase_started(index, phase.steps)
    run.start_phase()
    if setting.assumptions.boundaries:
        method.on_task_start(phase.task_id)
    method.fit(phase)
    if setting.assumptions.boundaries:
        method.on_task_end(phase.task_id)
    if run.sends_back:
        check_can_be_sent(method)
    phase.close()
    state.training_time_s += run.phase_seconds()
    seen = stream.tasks_seen(index)
    with _evaluation_timed(state):
        if not setting.eval_tasks.tests:
            scores = Scores([None] * stream.num_tasks)
        else:
            scores = stream.evaluate(method, None if setting.eval_tasks.ahead else seen)
        details = stream.phase_over(index, method, scores)
        with FlopCounterMode(display=False) as counter:
            held_out = stream.validate(method, index) or []
    counted = torch.tensor(counter.get_total_flops(), dtype=torch.float64)
    state.validation_flops += float(sum_over_workers(counted))
    add_phase(state.flops, method, state.validation_flops, state.flops_before)
    _count_samples(phase, state)
    if run.folder is not None:
        add_inputs(state.reproduction, phase)
    state.validation.append(held_out)
    state.rows.append(scores.per_task)
    learned = stream.learning_curve(index)
    if learned is not None:
        state.learning_curves.append(learned)
    state.top5 = scores.top5
    state.slices = {} if scores.slices is None else scores.slices.to_dict()
    state.details += [] if details is None else [details]
    state.next_phase = index + 1
    state.global_step = run.global_step
    run.reporter.phase_finished(index, _mean(scores.per_task[:seen]))
    return _row_metrics(scores, held_out, stream, index)


@contextmanager
def _evaluation_timed(state: RunState) -> Iterator[None]:
    """Add the time that the block takes to that of evaluation. Answers are read, so no GPU is still at work."""
    started = time.perf_counter()
    yield
    state.evaluation_time_s += time.perf_counter() - started


def _count_samples(phase: AnyPhase, state: RunState) -> None:
    served = sum_over_workers(torch.tensor(phase.samples_served))
    state.training_samples += int(served)
    state.curve += [(state.curve_samples + seen, value) for seen, value in phase.online.curve()]
    state.curve_samples += phase.online.span()


def _row_metrics(scores: Scores, held_out: list[float | None], stream: Stream, index: int) -> dict[str, float]:
    """The values to log of a phase; the names mean the same as in `results.json`, which averages over the phases."""
    key, values = stream.results_type.measure.key, scores.per_task
    names = names_in_logs(stream.task_names(), len(values))
    row = {f"{key}/{name}": value for name, value in zip(names, values, strict=True) if value is not None}
    row["phase"] = index
    seen = values[: stream.tasks_seen(index)]
    if set(seen) != {None}:
        row[f"average_{key}"] = _mean(seen)
    if None not in values:
        row[f"average_{key}_all_tasks"] = _mean(values)
    if held_out and held_out[-1] is not None:
        row[f"validation_{key}"] = held_out[-1]
    if any(value is not None for value in held_out):
        row[f"average_validation_{key}"] = _mean(held_out)
    return row


def _mean(values: Sequence[float | None]) -> float:
    """The mean of the values that are not None; NaN if all are."""
    measured = [value for value in values if value is not None]
    return sum(measured) / len(measured) if measured else math.nan


def _save(parts: _Parts) -> None:
    run, state = parts.run, parts.state
    if run.folder is None:
        return
    own = parts.method.state_dict()
    add_state(state.reproduction, own)
    methods = gather_objects(own)
    content = {"format": STATE_FORMAT, **vars(state), "method": methods, "signature": parts.signature.state_dict()}
    run.folder.save(content, state.next_phase, run.logged())


def _warn_if_idle(method: Learner) -> None:
    """Warn of a method that did no more than plain training; the results alone do not show why."""
    reason = method.never_acted()
    if reason is not None and rank() == 0:
        warn(reason)


def _warn_if_collapsed(results: Results) -> None:
    """Warn of a run that ends with one class for every sample; its scores tell the class shares, not the method."""
    only = None if results.slices is None else results.slices.only_class
    if only is None or rank() != 0:
        return
    remedy = " or ".join(text for name, text in _REMEDIES.items() if name in results.options)
    tasks = len(results.accuracy_matrix[-1])
    where = f"all {tasks} tasks" if tasks > 1 else "the test"
    reason = (
        f"{short_name(results.method)} ends with class {only} for every sample of {where}, so its scores say nothing"
    )
    warn(f"{reason}; try {remedy or 'other options'}.")


def _results(parts: _Parts) -> Results:
    setting, stream, method, run, state, _, config = parts
    cost = measure_cost(method, state.wall_time_s, state.training_time_s, state.training_samples, state.flops)
    cost.evaluation_time_s = state.evaluation_time_s
    cost.tuning = None if run.context.tuning_cost is None else run.context.tuning_cost._asdict()
    own, cls = stream.result_fields(state.details), stream.results_type
    unknown = own.keys() - {f.name for f in fields(cls)}
    if unknown:
        raise DataError(
            f"{type(stream).__name__}.result_fields names {min(unknown)}, which {cls.__name__} does not have; add the "
            "field to that class."
        )
    return cls(
        setting=name_of_setting(type(setting)),
        method=method.reference(),
        dataset=setting.dataset_name,
        seed=setting.seed,
        num_phases=stream.num_phases,
        accuracy_matrix=state.rows,
        untrained_accuracy=state.untrained,
        online_curve=state.curve,
        top5_accuracy=state.top5,
        validation_matrix=_validation_matrix(state.validation),
        learning_curves=state.learning_curves,
        slices=SliceScores(**state.slices) if state.slices else None,
        class_names=list(stream.class_names()),
        task_names=list(stream.task_names()),
        phases_before=state.phases_before,
        reproduction=state.reproduction if run.folder is not None else {},
        config=config | stream.drawn(),
        cost=cost,
        **own,
    )


def _validation_matrix(rows: list[list[float | None]]) -> list[list[float | None]]:
    """The rows; an extended run may hold out samples of some phases only."""
    return [row or [None] * (phase + 1) for phase, row in enumerate(rows)] if any(rows) else []


def _write_results(run: Run, results: Results) -> None:
    """Draw the pictures, write `results.json`, and log both."""
    if run.folder is not None and run.writes:
        if results.tested and (run.context.draws or run.wandb.mode is not None):  # W&B keeps pictures of each run
            from redwood.engine.figures.plots import draw_run

            draw_run(results, run.folder.path)
        results.save(run.folder.path / "results.json")
    for logger in run.loggers:
        logger.log_results(results, run.directory)
