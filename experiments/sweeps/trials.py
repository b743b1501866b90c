"""One trial of a sweep: the run that it is, how far it has to come, and how it ended."""

import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from redwood.core.errors import RedwoodError
from redwood.engine.checkpoints import read_checkpoint
from redwood.engine.tuning import Trial
from redwood.experiments.launchers.jobs import Failure, Job
from redwood.experiments.sweeps.checks import used
from redwood.experiments.sweeps.plan import FLOPS, SCORE, SweepPlan
from redwood.experiments.sweeps.space import as_arguments, show_values
from redwood.experiments.sweeps.study import COMPLETE, FAILED, PRUNED, Ending, Tried
from redwood.settings.scores.results import Results

FOLDER = "trials"
LEAST_COMPLETE = 5  # trials before others may end early


def make_job(plan: SweepPlan, tried: Tried, earlier: Sequence[Tried], *, seed: int, width: int) -> Job:
    """The run of a trial.

    Args:
        plan: The sweep.
        tried: The trial.
        earlier: The trials of the rounds before.
        seed: Seed of the run; all trials have the same.
        width: Cores or GPUs that it takes.
    """
    bars = bars_of(earlier, plan.phases, lower_is_better=plan.lower_is_better) if plan.objectives == [SCORE] else ()
    return Job(
        plan.pair,
        (*plan.trial_arguments, *as_arguments(used(plan.pair, plan.trial_arguments, tried.parameters))),
        seed,
        plan.folder / FOLDER / f"{tried.number:03d}",
        width=width,
        name=f"trial {tried.number}, {show_values(tried.parameters)}",
        group=plan.folder.resolve().name,
        trial=Trial(plan.phases, bars),
        draws=False,
    )


def bars_of(earlier: Sequence[Tried], phases: int, *, lower_is_better: bool) -> tuple[float | None, ...]:
    """Return the score to reach after each phase but the last: the median of complete trials after the same phase.

    This is the median stopping rule (Golovin et al., "Google Vizier", KDD 2017). Optuna's own rule compares the best
    score of a trial so far. This would not work here: the average accuracy falls with each task, so its best value is
    that after the first task.

    Args:
        earlier: The trials of the rounds before. No trial ends early until `LEAST_COMPLETE` of them are complete.
        phases: Phases of a trial.
        lower_is_better: Whether the lower score is the better one.
    """
    curves = [tried.ending.curve for tried in earlier if tried.ending.state == COMPLETE]
    if len(curves) < LEAST_COMPLETE:
        return ()
    middle = statistics.median_high if lower_is_better else statistics.median_low
    known = ([curve[phase] for curve in curves] for phase in range(phases - 1))
    scores = ([value for value in values if value is not None] for values in known)
    return tuple(middle(values) if values else None for values in scores)


def ending_of(plan: SweepPlan, job: Job, outcome: Results | Failure, seconds: float = 0.0) -> Ending:
    """Return the end of a trial.

    Args:
        plan: The sweep.
        job: The trial's run.
        outcome: The outcome of the run.
        seconds: The time that this process has run it; for a failed trial, this may be the only known time.
    """
    if isinstance(outcome, Failure):
        flops, before = _cost_so_far(job.folder)
        return Ending(FAILED, flops=flops, seconds=max(seconds, before), reason=outcome.reason)
    curve, cost = tuple(outcome.tuning_curve[: plan.phases]), outcome.cost
    ending = Ending(PRUNED, curve=curve, flops=cost.total_flops, seconds=cost.wall_time_s)
    if len(curve) < plan.phases:
        return ending
    score = curve[-1]
    if score is None:
        return replace(ending, state=FAILED, reason=_why_no_score(plan))
    if FLOPS in plan.objectives and not cost.total_flops:
        return replace(ending, state=FAILED, reason=f"{plan.pair.method} counts no FLOPs")
    values = {SCORE: score, FLOPS: cost.total_flops}
    return replace(ending, state=COMPLETE, values=tuple(values[name] for name in plan.objectives))


def shared_failure(trials: Sequence[Tried]) -> str | None:
    """The reason why all of some trials have failed, if they have the same one; None otherwise.

    A reason may name a file in the trial's own folder, which does not tell it from another one.
    """
    reasons = {tried.ending.reason.replace(f"{FOLDER}/{tried.number:03d}", f"{FOLDER}/...") for tried in trials}
    if len(reasons) != 1 or any(tried.ending.state != FAILED for tried in trials):
        return None
    return reasons.pop()


def _why_no_score(plan: SweepPlan) -> str:
    return "no episode has ended" if plan.score.samples == "steps" else "the phases were too small to hold out samples"


def _cost_so_far(folder: Path) -> tuple[float, float]:
    """FLOPs and seconds of the phases that a run has finished."""
    with suppress(RedwoodError, OSError, KeyError, TypeError, AttributeError):
        state = read_checkpoint(folder / "checkpoints" / "boundary.pt", "start the sweep anew")
        return float(sum(map(sum, state["flops"].values()))), float(state["wall_time_s"])
    return 0.0, 0.0
