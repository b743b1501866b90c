"""What nearest class mean, streaming LDA and RanPAC have in common."""

from functools import partial

import pytest
import torch

from redwood.branches.streaming.ncm import NCM
from redwood.branches.streaming.ranpac import RanPAC
from redwood.branches.streaming.slda import SLDA
from redwood.settings import ClassSplit
from tests.methods.helpers import one_sentence
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting

METHODS = {"ncm": NCM, "slda": SLDA, "ranpac": partial(RanPAC, projection_dim=40)}
FIXED = METHODS | {"ranpac": partial(RanPAC, projection_dim=40, ridge=10.0)}  # no sample is held out


def read(name, key, methods=FIXED, **options):
    method = methods[name]()
    results = run_here(small_setting(key, **options), method)
    return method, results


def by_class(method):
    sums = method.sums["by_class"]
    return sums if len(sums) == 10 else sums.T


def noting(kind):
    """The method, which notes its sums after each phase."""

    class Noting(kind):
        notes: list

        def fit(self, phase):
            super().fit(phase)
            self.notes = [*getattr(self, "notes", []), by_class(self).clone()]

    return Noting


@pytest.mark.parametrize("name", METHODS)
class TestSums:
    def test_they_do_not_depend_on_the_order(self, name):
        order = list(range(10))
        expected, _ = read(name, "traditional", stream=ClassSplit(class_order=order))
        for key in ("continual", "online_class_incremental"):
            method, _ = read(name, key, stream=ClassSplit(class_order=order), batch_size=7)
            for part, value in expected.sums.items():
                torch.testing.assert_close(method.sums[part], value)

    def test_classes_that_come_later_leave_those_of_earlier_ones_as_they_are(self, name):
        kind = {"ncm": NCM, "slda": SLDA, "ranpac": RanPAC}[name]
        options = {"projection_dim": 40} if name == "ranpac" else {}
        method = noting(kind)(**options)
        run_here(small_setting("class_incremental"), method)
        first = method.notes[0].any(1)
        assert int(first.sum()) == 4
        assert torch.equal(method.notes[-1][first], method.notes[0][first])
        assert bool(method.notes[-1].any(1).all())

    @pytest.mark.parametrize(("key", "served"), [("class_incremental", 160), ("continual", 480)])
    def test_each_sample_counts_once_whatever_the_passes(self, name, key, served):
        method, results = read(name, key, passes=3)
        assert torch.equal(method.sums["counts"], torch.bincount(few_digits().y).double())
        assert results.cost.training_samples == served

    def test_phases_that_repeat_earlier_data_do_not_count_it_twice(self, name):
        method, _ = read(name, "cumulative")
        assert torch.equal(method.sums["counts"], torch.bincount(few_digits().y).double())


class TestAnswers:
    @pytest.mark.parametrize("name", METHODS)
    def test_with_task_ids_only_classes_of_the_task_compete(self, name):
        setting = small_setting("task_incremental")
        method = METHODS[name]()
        run_here(setting, method)
        classes = [phase.task_classes[number] for number, phase in enumerate(setting.phases())]
        scores = method.predict(few_digits().x_test[:30], torch.arange(30) % 3)
        for row, task in zip(scores, torch.arange(30) % 3, strict=True):
            assert tuple(torch.isfinite(row).nonzero()[:, 0].tolist()) == classes[task]

    def test_a_guess_is_uniform_and_later_only_seen_classes_are_named(self):
        answers = []

        class Asked(NCM):
            def predict(self, x, task_id):
                scores = super().predict(x, task_id)
                answers.append((self.sums["counts"] > 0, scores.argmax(1)))
                return scores

        method = Asked()
        run_here(small_setting("class_incremental", dataset=few_digits(n_test=360)), method)
        _, guesses = answers[0]
        counts, expected = torch.bincount(guesses, minlength=10), len(guesses) / 10
        assert (
            float(((counts - expected) ** 2 / expected).sum()) < 27.9
        )  # 99.9 % of chi-squared with 9 degrees of freedom
        for seen, predicted in answers[1:]:
            assert bool(seen[predicted].all())

    def test_each_batch_is_predicted_before_it_is_learned_from(self):
        setting = small_setting("online_class_incremental")
        method = NCM()
        curve = run_here(setting, method).online_curve
        x, y, accuracies = [], [], []
        for phase in setting.phases():
            for batch in phase.train:
                if y:
                    seen, labels = torch.cat(x), torch.cat(y)
                    means = {int(c): seen[labels == c].mean(0) for c in labels.unique()}
                    nearest = [min(means, key=lambda c: (one - means[c]).norm()) for one in batch.x.flatten(1).double()]
                    accuracies.append(
                        sum(a == b for a, b in zip(nearest, batch.y.tolist(), strict=True)) / len(batch.y)
                    )
                x.append(batch.x.flatten(1).double())
                y.append(batch.y)
        assert [accuracy for _, accuracy in curve[1:]] == pytest.approx(accuracies)


class TestCosts:
    def test_operations(self):
        """Per sample: 64 features times 10 classes to score, and to add up; products of features for LDA."""
        _, results = read("ncm", "traditional", nb_tasks=1)
        assert results.cost.training_flops == 160 * 4 * 64 * 10
        _, results = read("slda", "traditional", nb_tasks=1)
        assert results.cost.training_flops >= 160 * (4 * 64 * 10 + 2 * 64 * 64) + 64**3 / 3

    def test_memory(self):
        _, results = read("slda", "traditional")
        assert results.cost.buffer_bytes == 8 * (10 * 64 + 64 * 64 + 10)
        assert results.cost.parameters == 65 * 10


def shared(name):
    method, results = read(name, "class_incremental", METHODS, workers=2, batch_size=8)
    return method.sums, method.predict(few_digits().x_test, None), results.accuracy_matrix


@pytest.mark.parametrize("name", ["slda", "ranpac"])
def test_two_workers_hold_what_one_would(two_workers, name):
    (sums, scores, matrix), (others, other_scores, _) = two_workers.run(shared, name)
    assert all(torch.equal(value, others[part]) for part, value in sums.items())
    assert torch.equal(scores, other_scores)
    if name == "ranpac":  # whose held-out samples are other ones
        return
    alone, results = read(name, "class_incremental", METHODS)
    for part, value in alone.sums.items():
        torch.testing.assert_close(sums[part], value)
    assert matrix == results.accuracy_matrix


def test_two_workers_share_the_regression_of_one(two_workers):
    (sums, _, matrix), _ = two_workers.run(shared_fixed)
    alone, results = read("ranpac", "class_incremental")
    for part, value in alone.sums.items():
        torch.testing.assert_close(sums[part], value)
    assert matrix == results.accuracy_matrix


def shared_fixed():
    method, results = read("ranpac", "class_incremental", workers=2, batch_size=8)
    return method.sums, None, results.accuracy_matrix


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: SLDA(shrinkage=0), "--shrinkage 0 has to be at least 1e-06 and at most 1"),
        (lambda: RanPAC(projection_dim=0), "--projection_dim 0 has to be at least 1"),
        (lambda: RanPAC(ridge=-1), "--ridge -1 has to be at least 0"),
    ],
)
def test_options_out_of_range(make, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        make()
    assert one_sentence(error.value)
