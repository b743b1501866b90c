"""Jobs go through a launcher in stacks, and come back one by one."""

import pytest

from redwood.experiments.jobs import Elsewhere, Failure, Job
from redwood.experiments.launchers import stacking
from redwood.experiments.launchers.joining import SharedJobs
from redwood.experiments.launchers.stacking import StackedJobs, stacked_groups
from redwood.experiments.options import parse_options
from redwood.experiments.pairs import Pair
from redwood.experiments.stacks import Stack, Unstacked

FAILURE = Failure("It is broken.", unforeseen=False)


def make_jobs(tmp_path, *methods, seeds=3):
    return [
        [Job(Pair("class_incremental", method), (), seed, tmp_path / f"{method}{seed}") for seed in range(seeds)]
        for method in methods
    ]


class Scripted:
    """A launcher that answers each task by a function, one after the other."""

    def __init__(self, answer):
        self.answer, self.tasks = answer, []

    def run(self, jobs, started):
        for task in jobs:
            assert task is not None
            self.tasks.append(task)
            started(task)
            yield task, self.answer(task)


def carried_out(groups, joined, answer):
    """What the launcher got, what came back, and what was told."""
    shared = SharedJobs([job for group in groups for job in group])
    lines, started, ended = [], [], []
    launcher = Scripted(answer)
    for job, outcome in StackedJobs(shared, joined, lines.append).run(launcher, started.append):
        shared.settle(job, outcome)
        ended.append((job, outcome))
    assert started.count(ended[0][0]) >= 1
    return launcher.tasks, ended, lines


def all_fail(task):
    return [FAILURE] * len(task.jobs) if isinstance(task, Stack) else FAILURE


def test_those_of_a_group_are_one_task(tmp_path):
    first, second = groups = make_jobs(tmp_path, "finetune", "rehearsal")
    joined = {job: number for number, group in enumerate(groups) for job in group}
    tasks, ended, lines = carried_out(groups, joined, all_fail)
    assert tasks == [Stack(tuple(first)), Stack(tuple(second))]
    assert [job for job, _ in ended] == first + second
    assert {id(outcome) for _, outcome in ended} == {id(FAILURE)}
    assert lines == []


def test_others_stay_single(tmp_path):
    first, second = groups = make_jobs(tmp_path, "agem", "rehearsal")
    tasks, _, _ = carried_out(groups, dict.fromkeys(second, 1), all_fail)
    assert tasks == [*first, Stack(tuple(second))]


def test_complete_ones_are_not_run_again_and_one_that_is_left_stays_single(tmp_path):
    (group,) = make_jobs(tmp_path, "finetune")
    for job in group[:2]:
        job.folder.mkdir()
        job.write_failure(FAILURE)
    tasks, _, _ = carried_out([group], dict.fromkeys(group, 0), all_fail)
    assert tasks == [group[2]]


def test_a_stack_has_an_upper_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(stacking, "MOST", 2)
    (group,) = make_jobs(tmp_path, "finetune")
    tasks, _, _ = carried_out([group], dict.fromkeys(group, 0), all_fail)
    assert tasks == [Stack(tuple(group[:2])), group[2]]


@pytest.mark.parametrize("answer", [Unstacked("the networks differ"), Failure("Its process was ended.", True)])
def test_what_cannot_be_stacked_is_run_one_by_one(tmp_path, answer):
    (group,) = make_jobs(tmp_path, "finetune")
    tasks, ended, lines = carried_out(
        [group], dict.fromkeys(group, 0), lambda task: answer if isinstance(task, Stack) else FAILURE
    )
    assert tasks == [Stack(tuple(group)), *group]
    assert ended == [(job, FAILURE) for job in group]
    assert lines == [f"class_incremental / finetune: each seed is run by itself: {answer.reason.rstrip('.')}"]


def test_one_that_another_process_has_comes_later(tmp_path):
    (group,) = make_jobs(tmp_path, "finetune")
    answers = iter([[FAILURE, Elsewhere("It is held."), FAILURE], FAILURE])
    tasks, ended, _ = carried_out([group], dict.fromkeys(group, 0), lambda task: next(answers))
    assert tasks == [Stack(tuple(group)), group[1]]
    assert ended[-1] == (group[1], FAILURE)


def test_groups_and_what_is_told_of_them(tmp_path):
    groups = make_jobs(tmp_path, "finetune", "rehearsal", "agem")
    parsed = [parse_options(group[0].pair, ["--accelerator", "cpu"]) for group in groups]
    joined, lines = stacked_groups(groups, parsed)
    assert list(joined) == groups[0] + groups[1]
    assert [joined[group[0]] for group in groups[:2]] == [0, 1]
    assert lines == [
        "class_incremental / finetune, class_incremental / rehearsal: the seeds are trained side by side, "
        "where networks and phases allow it",
        "class_incremental / agem: each seed is run by itself: agem is not declared to be stackable",
    ]


def test_one_seed_is_no_stack(tmp_path):
    groups = make_jobs(tmp_path, "finetune", seeds=1)
    assert stacked_groups(groups, [parse_options(groups[0][0].pair, [])]) == ({}, [])
