"""`--lca`: the area under the learning curves (Chaudhry et al., 2019), measured by the setting."""

import io
import json
import re
from typing import ClassVar

import pytest
import torch
from rich.console import Console

from redwood.core.errors import DataError, InvalidOptionError, NotTrainedError
from redwood.experiments.report.tables import print_results
from redwood.methods.baselines import Finetune
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings import AllTasks, SeenTasks
from redwood.settings.scores.learning_curve import learning_curve_area
from redwood.settings.scores.results import Results
from tests.regression import line
from tests.small_runs import FixedRule, comparable, run_here, small_setting

BATCH_SIZE = 16


class CountsSteps(Finetune):
    """Notes how many steps it has taken whenever it is scored, and what it is told of the samples."""

    def configure(self, setting):
        super().configure(setting)
        self.taken, self.tests, self.finished = 0, [], []

    def on_batch_end(self, *given):
        super().on_batch_end(*given)
        self.taken += 1

    def on_task_end(self, task_id):
        super().on_task_end(task_id)
        self.finished.append(self.taken)

    def predict(self, x, task_id):
        self.tests.append((self.taken, sorted(set(task_id.tolist())), len(x)))
        return super().predict(x, task_id)


def run(method=None, key="task_incremental", folder=None, **options):
    where = {} if folder is None else {"run_dir": str(folder)}
    return run_here(small_setting(key, **{"eval_tasks": AllTasks(lca=3)} | options), method or Finetune(), **where)


def test_the_mean_by_hand():
    assert learning_curve_area([[0.2, 0.4, 0.6], [0.0, 0.5, 0.7]]) == pytest.approx((0.1 + 0.45 + 0.65) / 3)
    assert learning_curve_area([[None, 0.5]]) is None
    assert learning_curve_area([]) is None


@pytest.mark.parametrize("passes", [1, 3])
def test_each_score_comes_after_so_many_steps(passes):
    """Nothing is fetched ahead: the score before mini-batch b is that of the network after b steps."""
    method = CountsSteps()
    run(method, passes=passes, eval_tasks=SeenTasks(lca=2))
    # Test samples of one task; training batches, which are scored online, are smaller.
    tests = [(taken, tasks[0]) for taken, tasks, n in method.tests if len(tasks) == 1 and n > BATCH_SIZE]
    for task in range(3):
        taken = [taken for taken, tested in tests if tested == task][:3]
        assert taken == [taken[0], taken[0] + 1, taken[0] + 2]
        assert taken[0] == (0 if task == 0 else method.finished[task - 1])


def test_the_curve_begins_where_the_task_before_ended_and_rises():
    results = run(key="class_incremental", passes=4, eval_tasks=AllTasks(lca=10), batch_size=8)
    assert [len(curve) for curve in results.learning_curves] == [11] * 3
    assert results.learning_curves[0][0] == results.untrained_accuracy[0]
    assert results.learning_curves[1][0] == results.accuracy_matrix[0][1]
    mean = torch.tensor(results.learning_curves).mean(0)
    assert mean[-1] > mean[0] + 0.1
    assert results.metrics["lca"] == pytest.approx(mean.mean().item())


def test_it_is_shown_in_the_table():
    screen = io.StringIO()
    print_results(run(), Console(file=screen, width=80))
    assert re.search(r"^LCA +\d+\.\d", screen.getvalue(), re.MULTILINE)


def two_workers_curves():
    return run(key="distributed_task_incremental").learning_curves


def test_two_workers_score_together(two_workers):
    one, other = two_workers.run(two_workers_curves)
    assert one == other and [len(curve) for curve in one] == [4] * 3


@pytest.mark.parametrize("method", [Finetune, Rehearsal])
def test_nothing_else_changes(method):
    plain, measured = (comparable(run(method(), eval_tasks=AllTasks(lca=lca))) for lca in (0, 3))
    curves, area = measured.pop("learning_curves"), measured["metrics"].pop("lca")
    assert len(curves) == 3 and 0 < area < 1
    measured["config"]["eval_tasks"]["all"]["lca"] = 0
    assert plain == measured


def test_it_is_in_the_file_and_comes_back(tmp_path):
    results = run(folder=tmp_path / "run")
    content = json.loads((tmp_path / "run" / "results.json").read_text())
    assert content["learning_curves"] == results.learning_curves and content["metrics"]["lca"] == results.metrics["lca"]
    loaded = Results.load(tmp_path / "run" / "results.json")
    assert loaded.learning_curves == results.learning_curves and loaded.metrics == results.metrics
    content["learning_curves"][0][0] = 2
    with pytest.raises(DataError, match=r"learning_curves\[0\]\[0\] has to be at least 0 and at most 1"):
        Results.from_dict(content)


def test_without_the_option_files_stay_as_they_are():
    content = run(eval_tasks=AllTasks(lca=0)).to_dict()
    assert "learning_curves" not in content and "lca" not in content["metrics"]


def test_a_method_that_cannot_predict_yet():
    class Late(FixedRule):
        seen: ClassVar[int] = 0

        def fit(self, phase):
            for _ in phase.train:
                self.seen += 1

        def predict(self, x, task_id):
            if not self.seen:
                raise NotTrainedError("not yet")
            return super().predict(x, task_id)

    results = run(Late(), passes=1)
    assert results.learning_curves[0][0] is None and None not in results.learning_curves[1]
    assert results.metrics["lca"] is None


@pytest.mark.parametrize(
    ("key", "options", "sentence"),
    [
        ("traditional", {}, "--lca 3 needs phases of one task each, which traditional does not have"),
        ("continual", {}, "which continual does not have"),
        ("cumulative_task_incremental", {}, "which cumulative_task_incremental does not have; leave it out, or use"),
        ("domain_incremental", {"dataset": line()}, "but the targets of line are numbers; leave it out"),
        (
            "task_incremental",
            {"eval_tasks": {"all": {"lca": 99}}},
            r"--lca 99 needs more than 99 mini-batches in each phase, but phase \d has \d",
        ),
        ("task_incremental", {"eval_tasks": {"all": {"lca": -1}}}, "--lca -1 has to be at least 0"),
    ],
)
def test_where_it_cannot_be_measured(key, options, sentence):
    with pytest.raises(InvalidOptionError, match=sentence):
        small_setting(key, **{"eval_tasks": AllTasks(lca=3)} | options).open_stream()
