"""One trial: what it has to reach to go on, and how it ended."""

from dataclasses import replace
from pathlib import Path

import pytest

from redwood.engine.run import RunContext
from redwood.engine.tuning import Trial
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.launchers.jobs import Failure, Job
from redwood.experiments.sweeps.plan import SweepPlan
from redwood.experiments.sweeps.study import COMPLETE, FAILED, PRUNED, Ending, Tried
from redwood.experiments.sweeps.trials import bars_of, ending_of, make_job, shared_failure
from redwood.methods.baselines import Random
from redwood.settings.scores.cost import Cost
from redwood.settings.scores.results import Results
from tests.small_runs import run_here, small_setting

PLAN = SweepPlan(
    folder=Path("swept"),
    pair=Pair("class_incremental", "rehearsal"),
    arguments=["--passes", "1", "--eval_tasks", "seen"],
    n_seeds=2,
    n_orders=None,
    space={"lr": "log:1e-3..1"},
    n_trials=8,
    in_round=4,
    protocol="all_tasks",
    objectives=["accuracy"],
    validation=0.1,
    phases=3,
    measure="accuracy",
)
BOTH = replace(PLAN, objectives=["accuracy", "flops"])


def complete(number, *curve):
    return Tried(number, {"lr": 0.1}, Ending(COMPLETE, (curve[-1],), curve))


EARLIER = [complete(number, 0.9, 0.1 * number, 0.2) for number in range(5)]


class TestBars:
    def test_each_phase_is_compared_with_the_same_phase(self):
        assert bars_of(EARLIER, 3, lower_is_better=False) == pytest.approx((0.9, 0.2))

    def test_nothing_ends_before_five_are_complete(self):
        pruned = Tried(5, {"lr": 0.1}, Ending(PRUNED, curve=(0.9,)))
        assert bars_of([*EARLIER[:4], pruned], 3, lower_is_better=False) == ()

    def test_an_even_number_does_not_end_the_middle_ones(self):
        curves = [complete(number, float(number), 0.0) for number in range(6)]
        assert bars_of(curves, 2, lower_is_better=False) == (2.0,)
        assert bars_of(curves, 2, lower_is_better=True) == (3.0,)

    def test_a_phase_that_nobody_has_a_score_of(self):
        curves = [complete(number, None, 0.5, 0.5) for number in range(5)]
        assert bars_of(curves, 3, lower_is_better=False) == (None, 0.5)

    def test_one_phase_has_none(self):
        assert bars_of([complete(number, 0.5) for number in range(5)], 1, lower_is_better=False) == ()


@pytest.mark.parametrize(
    ("reasons", "shared"),
    [
        (["no /a/trials/000/x.png", "no /a/trials/001/x.png"], "no /a/trials/.../x.png"),
        (["diverged after 2 steps", "diverged after 5 steps"], None),
        (["broken", ""], None),
    ],
)
def test_whether_all_failed_in_one_way(reasons, shared):
    states = [FAILED if reason else COMPLETE for reason in reasons]
    endings = [Ending(state, reason=reason) for state, reason in zip(states, reasons, strict=True)]
    assert shared_failure([Tried(number, {}, ending) for number, ending in enumerate(endings)]) == shared


class TestTrial:
    @pytest.mark.parametrize(
        ("curve", "lower", "over"),
        [
            ([], False, False),
            ([0.6], False, False),
            ([0.5], False, False),
            ([0.4], False, True),
            ([0.4], True, False),
            ([0.6], True, True),
            ([None], False, False),
            ([0.1, 0.1], False, False),  # no bar there
            ([0.9, 0.9, 0.9], False, True),  # all phases
        ],
    )
    def test_when_it_is_over(self, curve, lower, over):
        assert Trial(3, (0.5, None)).is_over(curve, lower_is_better=lower) is over

    def test_a_run_ends_where_it_falls_below(self):
        setting = small_setting("class_incremental", eval_tasks="none", validation=0.2)
        assert len(run_here(setting, Random(), context=RunContext(trial=Trial(3))).accuracy_matrix) == 3
        assert len(run_here(setting, Random(), context=RunContext(trial=Trial(2))).accuracy_matrix) == 2
        assert len(run_here(setting, Random(), context=RunContext(trial=Trial(3, (None, 2.0)))).accuracy_matrix) == 2
        assert len(run_here(setting, Random(), context=RunContext(trial=Trial(3, (2.0,)))).accuracy_matrix) == 1


class TestJob:
    def test_options(self):
        job = make_job(PLAN, Tried(7, {"lr": 0.25, "optimizer": "adam", "momentum": 0.5}), EARLIER, seed=3, width=2)
        assert job.folder == Path("swept/trials/007")
        assert (job.seed, job.width, job.group) == (3, 2, "swept")
        assert job.label == "trial 7, lr=0.25, optimizer=adam, momentum=0.5"
        assert job.trial == Trial(3, pytest.approx((0.9, 0.2)))
        shared = ["--passes", "1", "--eval_tasks", "seen", "--validation=0.1", "--eval_tasks=none"]
        assert list(job.arguments) == [*shared, "--lr=0.25", "--optimizer=adam"]  # adam has no momentum

    def test_with_two_objectives_none_ends_early(self):
        assert make_job(BOTH, Tried(7, {"lr": 0.25}), EARLIER, seed=3, width=2).trial == Trial(3)


class TestEnding:
    JOB = Job(PLAN.pair, (), 0, Path("nowhere"))

    @staticmethod
    def results(*curve, flops=5.0):
        matrix = [[value] * (number + 1) for number, value in enumerate(curve)]
        cost = Cost(wall_time_s=2.0, flops={"training": [flops]})
        rows = [[None] * 3 for _ in curve]
        return Results(
            setting="a",
            method="b",
            dataset="c",
            seed=0,
            num_phases=3,
            accuracy_matrix=rows,
            validation_matrix=matrix,
            cost=cost,
        )

    def test_complete(self):
        found = ending_of(PLAN, self.JOB, self.results(0.9, 0.5, 0.25))
        assert found == Ending(COMPLETE, (0.25,), (0.9, 0.5, 0.25), 5.0, 2.0)
        assert ending_of(BOTH, self.JOB, self.results(0.9, 0.5, 0.25)).values == (0.25, 5.0)

    def test_only_the_first_phases_count(self):
        found = ending_of(replace(PLAN, phases=2), self.JOB, self.results(0.9, 0.5, 0.25))
        assert (found.state, found.values, found.curve) == (COMPLETE, (0.5,), (0.9, 0.5))

    def test_it_ended_early(self):
        assert ending_of(PLAN, self.JOB, self.results(0.9, 0.5)) == Ending(PRUNED, (), (0.9, 0.5), 5.0, 2.0)

    def test_no_score(self):
        found = ending_of(PLAN, self.JOB, self.results(0.9, 0.5, None))
        assert (found.state, found.reason) == (FAILED, "the phases were too small to hold out samples")
        found = ending_of(BOTH, self.JOB, self.results(0.9, 0.5, 0.5, flops=0.0))
        assert (found.state, found.reason) == (FAILED, "rehearsal counts no FLOPs")

    def test_failed(self):
        found = ending_of(PLAN, self.JOB, Failure("broken", unforeseen=True), seconds=3.0)
        assert found == Ending(FAILED, seconds=3.0, reason="broken")
