import random

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from redwood.core.errors import DataError, InvalidOptionError, InvalidPredictionError, RedwoodError
from redwood.methods.baselines import Random
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings import Blurry, ClassSplit
from redwood.settings.data.dataset import Dataset
from redwood.settings.streams.supervised_stream import SupervisedStream
from redwood.settings.tree import (
    ClassIncrementalSetting,
    CumulativeSetting,
    DomainIncrementalSetting,
    TaskIncrementalSetting,
    TraditionalSetting,
)
from tests.methods.helpers import one_sentence
from tests.regression import line
from tests.samples import few_digits, numbered
from tests.small_runs import NormalisedNetwork, run_here, small_setting


class Answer(Random):
    """Answers every batch of test samples by a function."""

    def __init__(self, answer):
        self.answer = answer

    def predict(self, x, task_id):
        return self.answer(x)


def rows_of(loader):
    return [int(value) for batch in loader for value in batch.x[:, 0]]


def many_classes(n_classes):
    """One training and three test samples of each class; a sample is its own label."""
    x, x_test = torch.arange(n_classes), torch.arange(n_classes).repeat(3)
    return Dataset("many", x[:, None].float(), x, x_test[:, None].float(), x_test)


class TestEvaluate:
    def accuracy(self, answer):
        stream = ClassIncrementalSetting(
            dataset=numbered(), nb_tasks=3, stream=ClassSplit(class_order=list(range(6)))
        ).open_stream()
        return stream.evaluate(Answer(answer)).per_task

    def truth(self, x):
        return numbered().y_test[x[:, 0].long() - 1000]

    def test_classes_and_scores_are_both_understood(self):
        assert self.accuracy(self.truth) == [1, 1, 1]
        assert self.accuracy(lambda x: torch.eye(6)[self.truth(x)]) == [1, 1, 1]

    def test_wrong_answers_count_for_the_task_of_the_sample(self):
        assert self.accuracy(lambda x: self.truth(x).clamp(max=2)) == [1, 0.5, 0]

    @pytest.mark.parametrize("shape", [(35,), (36, 5), (36, 1), (36, 6, 1), ()])
    def test_answers_of_another_shape_are_refused(self, shape):
        with pytest.raises(RedwoodError, match=r"return classes \(36,\) or scores \(36, 6\)"):
            self.accuracy(lambda x: torch.zeros(shape))

    @pytest.mark.parametrize(
        "answer",
        [
            lambda n: None,
            lambda n: [0] * n,
            lambda n: np.zeros(n, dtype=int),
            lambda n: torch.zeros(n),
            lambda n: torch.zeros(n, dtype=torch.bool),
            lambda n: torch.full((n,), 99),
            lambda n: torch.full((n,), -1),
            lambda n: torch.full((n, 6), torch.nan),
        ],
    )
    def test_answers_that_are_no_classes_are_refused(self, answer):
        with pytest.raises(InvalidPredictionError, match="predict returned ") as caught:
            self.accuracy(lambda x: answer(len(x)))
        assert one_sentence(caught.value)

    def test_answers_that_are_no_numbers_are_refused(self):
        stream = small_setting("continual", dataset=line()).open_stream()
        for wrong in (torch.nan, -torch.inf):
            with pytest.raises(InvalidPredictionError, match=f"predict returned {wrong}"):
                stream.evaluate(Answer(lambda x, wrong=wrong: torch.full((len(x),), wrong)))

    def test_more_samples_than_fit_one_batch(self):
        data = numbered(n_test=2_500)
        stream = ClassIncrementalSetting(dataset=data, nb_tasks=3).open_stream()
        sizes = []

        def answer(x):
            sizes.append(len(x))
            return data.y_test[x[:, 0].long() - 1000]

        assert stream.evaluate(Answer(answer)).per_task == [1, 1, 1]
        assert (sum(sizes), len(sizes)) == (2_500, 3)

    @pytest.mark.parametrize(("n_classes", "expected"), [(10, None), (12, [1, 0, 1])])
    def test_top_five_of_more_than_ten_classes(self, n_classes, expected):
        # The right class is the fifth best, but the sixth best where it is one of the second task.
        setting = ClassIncrementalSetting(
            dataset=many_classes(n_classes),
            stream=ClassSplit(increment=[4, 4, n_classes - 8], class_order=list(range(n_classes))),
        )

        def scores(x):
            y = x.long()
            better = torch.where(y // 4 == 1, 5, 4)
            return -((torch.arange(n_classes) - y + better) % n_classes)

        assert setting.open_stream().evaluate(Answer(scores)).top5 == expected

    @pytest.mark.parametrize("of_others", [-torch.inf, 1.0])
    def test_with_ids_the_five_best_are_of_the_own_task(self, of_others):
        """The right class is the fifth best of six, or the sixth best of seven; a task of five has no top five."""
        sizes = torch.tensor([5, 6, 7])
        setting = TaskIncrementalSetting(
            dataset=many_classes(18), stream=ClassSplit(increment=sizes.tolist(), class_order=list(range(18)))
        )

        class WithIds(Answer):
            def predict(self, x, task_id):
                size, first, better = (of[task_id][:, None] for of in (sizes, sizes.cumsum(0) - sizes, sizes - 2))
                scores = -((torch.arange(18) - x.long() + better) % size).float()
                is_own = (torch.arange(18) >= first) & (torch.arange(18) < first + size)
                return scores.where(is_own, torch.tensor(of_others))

        assert setting.open_stream().evaluate(WithIds(None)).top5 == [None, 1, 0]

    def test_no_top_five_where_no_task_has_six_classes(self):
        setting = TaskIncrementalSetting(dataset=many_classes(12), nb_tasks=3)
        scores = setting.open_stream().evaluate(Answer(lambda x: torch.nn.functional.one_hot(x[:, 0].long(), 12)))
        assert (scores.per_task, scores.top5) == ([1] * 3, None)

    def test_no_top_five_where_only_classes_are_answered(self):
        stream = ClassIncrementalSetting(dataset=many_classes(12)).open_stream()
        scores = stream.evaluate(Answer(lambda x: x[:, 0].long()))
        assert (scores.per_task, scores.top5) == ([1] * 5, None)


class TestEvaluationChangesNothing:
    def test_parameters_statistics_buffers_and_random_generators(self):
        setting, method = small_setting("class_incremental"), Rehearsal(model=NormalisedNetwork())
        run_here(setting, method)
        method.network.train()
        before = snapshot(method)
        setting.open_stream().evaluate(method)
        assert all(map(same, before, snapshot(method)))
        assert all(part.training for part in method.network.modules())

    def test_draws_of_the_method_do_not_count(self):
        class Draws(Random):
            def predict(self, x, task_id):
                random.random(), np.random.rand(), torch.rand(3)
                return super().predict(x, task_id)

        setting, method = small_setting("class_incremental"), Draws()
        run_here(setting, method)
        drawn = []
        for evaluates in (False, True):
            random.seed(1)
            np.random.seed(1)
            torch.manual_seed(1)
            if evaluates:
                setting.open_stream().evaluate(method)
            drawn.append((random.random(), np.random.rand(), torch.rand(())))
        assert drawn[0] == drawn[1]

    def test_no_gradients_are_recorded(self):
        recorded = []

        class Watches(Random):
            def predict(self, x, task_id):
                recorded.append(torch.is_grad_enabled())
                return super().predict(x, task_id)

        run_here(small_setting("traditional"), Watches())
        assert recorded[0] is recorded[-1] is False


def snapshot(method):
    network = [tensor.clone() for tensor in method.network.state_dict().values()]
    stored = method.buffer.state_dict()
    buffer = [stored["step"], stored["policy"], *stored["rows"].values()]
    return [*network, *buffer, torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()]


def same(a, b):
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


class TestValidation:
    @pytest.mark.parametrize("key", ["continual", "class_incremental", "cumulative", "traditional"])
    def test_held_out_samples_are_never_trained_on_and_none_is_lost(self, key):
        data = numbered()
        setting = small_setting(key, dataset=data, validation=0.25, stream=ClassSplit(class_order=list(range(6))))
        phases = list(setting.phases())
        trained = {row for phase in phases for row in rows_of(phase.train)}
        held_out = {row for phase in phases for row in rows_of(phase.validation)}
        assert not trained & held_out
        assert trained | held_out == set(range(66))
        counts = torch.bincount(data.y[sorted(held_out)] // 2, minlength=3)
        assert counts.tolist() == [5, 5, 5]  # a quarter of 22, rounded down

    def test_it_belongs_to_the_tasks_of_the_phase(self):
        for setting, seen in ((ClassIncrementalSetting, 1), (CumulativeSetting, 3), (TraditionalSetting, 3)):
            *_, last = setting(dataset=numbered(), nb_tasks=3, validation=0.25).phases()
            assert len({int(task) for batch in last.validation for task in batch.task_id}) == seen

    def test_none_is_held_out_by_default(self):
        assert next(ClassIncrementalSetting(dataset=numbered()).phases()).validation is None


class TestTaskClasses:
    """A task has the labels of all of its training samples, whichever of them a phase shows."""

    def lists(self, key, **options):
        setting = small_setting(key, **{"dataset": numbered(), "stream": ClassSplit(class_order=range(6))} | options)
        return [phase.task_classes for phase in setting.phases()]

    @pytest.mark.parametrize("key", ["class_incremental", "domain_incremental", "task_incremental"])
    @pytest.mark.parametrize("stream", ["instance", "permuted", "contexts"])
    def test_stray_samples_do_not_narrow_them(self, key, stream):
        options = {"stream": stream, "transition": Blurry(blur=0.1)}
        lists = self.lists(key, dataset=numbered(contexts=3), **options)
        apart = stream == "permuted" and key != "domain_incremental"
        assert all(len(classes) == 3 for classes in lists)
        for classes in lists:
            assert classes == {task: tuple(range(6 * task, 6 * task + 6) if apart else range(6)) for task in range(3)}

    def test_blurry_splits(self):
        expected = {0: (0, 1), 1: (2, 3), 2: (4, 5)}
        assert self.lists("class_incremental", transition=Blurry(blur=0.1)) == [expected] * 3

    def test_held_out_samples_count(self):
        data = many_classes(6)
        (first, _) = self.lists("class_incremental", dataset=data, nb_tasks=2, validation=0.9)
        assert first == {0: (0, 1, 2)}

    @pytest.mark.parametrize(("key", "n_lists"), [("cumulative", 3), ("multi_task", 1), ("traditional", 1)])
    def test_phases_of_several_tasks_list_each(self, key, n_lists):
        lists = self.lists(key)
        assert (len(lists), lists[-1]) == (n_lists, {0: (0, 1), 1: (2, 3), 2: (4, 5)})

    @pytest.mark.parametrize("key", ["continual", "task_agnostic"])
    def test_hidden_ids(self, key):
        assert self.lists(key) == [None]


class TestSpaces:
    def test_integers_range_from_zero_to_the_largest_storable_value(self):
        setting = ClassIncrementalSetting(dataset=few_digits())
        assert setting.observation_space == Box(0, 16, (1, 8, 8), np.uint8)
        assert setting.action_space.n == 10

    def test_floats_range_over_the_training_samples(self):
        vectors = ClassIncrementalSetting(dataset=numbered()).observation_space
        assert (vectors.low.tolist(), vectors.high.tolist()) == ([0, -65], [65, 0])
        x = torch.rand(12, 1, 4, 4) - 0.5
        y = torch.arange(12) % 6
        images = Dataset("images", x, y, 9 * x, y)
        space = ClassIncrementalSetting(dataset=images).observation_space
        assert (float(space.low.min()), float(space.high.max())) == (float(x.min()), float(x.max()))

    def test_outputs_where_labels_are_shared_or_not(self):
        for key, n_outputs in (("domain_incremental", 10), ("class_incremental", 30)):
            assert small_setting(key, stream="permuted").action_space.n == n_outputs


class TestConstruction:
    def test_data_with_contexts_are_split_by_them(self):
        stream = ClassIncrementalSetting(dataset=numbered(contexts=4)).open_stream()
        assert (stream.num_tasks, stream.num_phases) == (4, 4)

    def test_more_workers_than_samples(self):
        setting = ClassIncrementalSetting(dataset=many_classes(6), nb_tasks=6, workers=2)
        with pytest.raises(InvalidOptionError, match="--workers 2 is more than the 1 samples of the smallest phase"):
            setting.open_stream()

    def test_unusable_data_are_refused_before_anything_is_written(self, tmp_path):
        setting = ClassIncrementalSetting(dataset=many_classes(6), stream="instance", nb_tasks=7)
        with pytest.raises(DataError, match="has no training samples"):
            setting.apply(Random(), quiet=True, run_dir=str(tmp_path / "run"))
        assert not list(tmp_path.iterdir())

    def test_the_data_are_cut_once(self, monkeypatch):
        made = []
        build = SupervisedStream.__init__
        monkeypatch.setattr(
            SupervisedStream, "__init__", lambda *given, **more: (made.append(1), build(*given, **more))[1]
        )
        setting = small_setting("class_incremental")
        run_here(setting, Random())
        assert (next(iter(setting.phases())).index, made) == (0, [1])


class TestClassNames:
    NAMES = ("a", "b", "c", "d")

    def names(self, setting, **options):
        x, y = torch.arange(8.0)[:, None], torch.arange(8) % 4
        data = Dataset("letters", x, y, x, y, class_names=self.NAMES)
        return setting(dataset=data, nb_tasks=2, **options).open_stream().class_names()

    def test_outputs_have_the_names_of_their_classes(self):
        assert self.names(ClassIncrementalSetting, stream=ClassSplit(class_order=[3, 1, 0, 2])) == self.NAMES

    def test_an_output_that_tasks_share_joins_the_names_of_their_classes(self):
        assert self.names(DomainIncrementalSetting, stream=ClassSplit(class_order=[3, 1, 0, 2])) == ("d / a", "b / c")

    def test_an_output_for_each_task_has_the_name_of_its_class(self):
        assert self.names(TaskIncrementalSetting, stream="permuted") == self.NAMES * 2

    def test_results_hold_them(self):
        x, y = torch.arange(8.0)[:, None], torch.arange(8) % 4
        data = Dataset("letters", x, y, x, y, class_names=self.NAMES)
        results = ClassIncrementalSetting(dataset=data, nb_tasks=2).apply(Random())
        assert type(results).from_dict(results.to_dict()).class_names == list(self.NAMES)

    def test_results_of_data_without_names_have_no_such_entry(self):
        assert "class_names" not in ClassIncrementalSetting(dataset=few_digits()).apply(Random()).to_dict()
