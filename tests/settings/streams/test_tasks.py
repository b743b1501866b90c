import itertools

import pytest
import torch

from redwood.core.errors import DataError, InvalidOptionError
from redwood.settings.streams.batches import Source
from redwood.settings.streams.cuts import Auto, ClassSplit, Rotated, class_groups
from redwood.settings.streams.order import task_entries
from redwood.settings.streams.tasks import STREAMS, Cut, make_tasks
from tests.samples import N_CLASSES, few_digits, numbered


def cut(data, stream, **options):
    if isinstance(stream, str):
        stream = STREAMS.make(stream)
    return make_tasks(data, stream, Cut(**({"num_tasks": 3, "shared_outputs": False, "seed": 0} | options)))


def shown(data, tasks, number):
    """Samples and labels of one task as the stream shows them."""
    entries = task_entries([task.rows for task in tasks])[number]
    source = Source(data.x, data.y, tasks)
    return source.samples(entries), source.labels(entries)


class TestClassGroups:
    @pytest.mark.parametrize(("n_classes", "num_tasks"), [(k, t) for k in range(1, 13) for t in range(1, k + 1)])
    def test_sizes_differ_by_at_most_one_and_no_class_is_lost(self, n_classes, num_tasks):
        groups = class_groups(n_classes, num_tasks, [], [], seed=1)
        sizes = [len(group) for group in groups]
        assert len(groups) == num_tasks
        assert max(sizes) - min(sizes) <= 1
        assert sizes == sorted(sizes, reverse=True)
        assert sorted(itertools.chain(*groups)) == list(range(n_classes))

    def test_given_order_is_honoured(self):
        order = [3, 1, 4, 0, 2]
        assert class_groups(5, 2, [], order, seed=0) == [[3, 1, 4], [0, 2]]
        assert class_groups(5, None, [1, 3, 1], order, seed=0) == [[3], [1, 4, 0], [2]]

    def test_order_is_drawn_from_the_seed(self):
        first, again, other = (class_groups(10, 5, [], [], seed=seed) for seed in (0, 0, 1))
        assert first == again
        assert first != other

    def test_every_class_may_come_at_any_place(self):
        # 600 orders of 6 classes: each class is at each place 100 times, with standard deviation 9.1.
        places = torch.zeros(6, 6)
        for seed in range(600):
            for place, (group,) in enumerate(class_groups(6, 6, [], [], seed)):
                places[group, place] += 1
        statistic = ((places - 100) ** 2 / 100).sum()
        assert statistic < 52.6  # 99.9 % of chi-squared with 25 degrees of freedom

    @pytest.mark.parametrize(
        ("increment", "sizes"), [([2], [2, 2, 2, 1]), ([7], [7]), ([3], [3, 3, 1]), ([1, 4, 2], [1, 4, 2])]
    )
    def test_increment(self, increment, sizes):
        groups = class_groups(7, None, increment, [], seed=0)
        assert [len(group) for group in groups] == sizes
        assert sorted(itertools.chain(*groups)) == list(range(7))

    def test_number_of_tasks_defaults_to_five_or_to_the_classes(self):
        assert [len(class_groups(k, None, [], [], seed=0)) for k in (2, 5, 10)] == [2, 5, 5]

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ((5, 6, [], []), "--nb_tasks 6 is more than the 5 classes"),
            ((5, None, [6], []), "between 1 and the 5 classes"),
            ((5, None, [0], []), "between 1 and the 5 classes"),
            ((5, None, [3, -1, 3], []), "between 1 and"),
            ((5, None, [2, 2], []), "adds up to 4"),
            ((5, 2, [1], []), "contradicts --increment, which makes 5 tasks"),
            ((5, 2, [], [0, 1, 2, 3]), "has to name each class"),
            ((5, 2, [], [0, 1, 2, 3, 3]), "has to name each class"),
        ],
    )
    def test_numbers_that_do_not_fit(self, options, sentence):
        with pytest.raises(InvalidOptionError, match=sentence):
            class_groups(*options, seed=0)


class TestClassSplit:
    def test_each_sample_belongs_to_the_task_of_its_class(self):
        data = numbered()
        order = [5, 0, 3, 1, 4, 2]
        tasks, n_outputs = cut(data, ClassSplit(class_order=order))
        assert n_outputs == N_CLASSES
        for task, group in zip(tasks, ([5, 0], [3, 1], [4, 2]), strict=True):
            for rows, y in ((task.rows, data.y), (task.rows_test, data.y_test)):
                assert sorted(set(y[rows].tolist())) == sorted(group)
        assert sorted(torch.cat([task.rows for task in tasks]).tolist()) == list(range(len(data.y)))
        assert sorted(torch.cat([task.rows_test for task in tasks]).tolist()) == list(range(len(data.y_test)))

    def test_labels_are_the_data_sets_own(self):
        data = numbered()
        tasks, _ = cut(data, "class_split")
        assert torch.equal(shown(data, tasks, 1)[1], data.y[tasks[1].rows])

    def test_a_shared_output_is_the_place_of_the_class_in_its_group(self):
        data = numbered()
        tasks, n_outputs = cut(data, ClassSplit(class_order=[5, 0, 3, 1, 4, 2]), num_tasks=4, shared_outputs=True)
        assert n_outputs == 2  # groups of 2, 2, 1, 1
        for number, group in enumerate(([5, 0], [3, 1], [4], [2])):
            expected = [group.index(label) for label in data.y[tasks[number].rows].tolist()]
            assert shown(data, tasks, number)[1].tolist() == expected


class TestTransformedStreams:
    @pytest.mark.parametrize("stream", ["permuted", "rotated"])
    @pytest.mark.parametrize("shared", [True, False])
    def test_every_task_holds_all_samples(self, stream, shared):
        data = few_digits()
        tasks, n_outputs = cut(data, stream, shared_outputs=shared)
        assert n_outputs == (10 if shared else 30)
        first, _ = shown(data, tasks, 0)
        assert torch.equal(first, data.x)
        for number in (1, 2):
            x, y = shown(data, tasks, number)
            assert torch.equal(y, data.y + (0 if shared else 10 * number))
            assert x.dtype == torch.uint8
            assert not torch.equal(x, data.x)

    def test_a_permutation_moves_the_values_of_all_samples_alike(self):
        data = few_digits()
        tasks, _ = cut(data, "permuted")
        order = tasks[1].transform.order
        assert sorted(order.tolist()) == list(range(64))
        assert not torch.equal(order, tasks[2].transform.order)
        assert torch.equal(shown(data, tasks, 1)[0].flatten(1), data.x.flatten(1)[:, order])

    def test_a_task_depends_on_its_number_and_the_seed_alone(self):
        data = few_digits()
        few, many, other = (cut(data, "rotated", num_tasks=n, seed=s)[0] for n, s in ((2, 0), (5, 0), (2, 1)))
        assert few[1].transform.degrees == many[1].transform.degrees != other[1].transform.degrees

    def test_rotation_turns_about_the_centre(self):
        data = few_digits()
        tasks, _ = cut(data, "rotated")
        tasks[1].transform.degrees = 90.0
        assert torch.equal(shown(data, tasks, 1)[0], torch.rot90(data.x, 1, (2, 3)))

    def test_angles_are_the_tasks(self):
        data = few_digits()
        tasks, n_outputs = cut(data, Rotated(angles=[-90.0, 0.0, 180.0, 20.0]), num_tasks=None, shared_outputs=True)
        assert (len(tasks), n_outputs) == (4, 10)
        for number, turns in enumerate((-1, 0, 2)):
            assert torch.equal(shown(data, tasks, number)[0], torch.rot90(data.x, turns, (2, 3)))
        assert tasks[3].transform.degrees == 20

    @pytest.mark.parametrize(
        ("angles", "num_tasks", "sentence"),
        [
            ([0.0, 20.0], 3, "--nb_tasks 3 contradicts --angles, which makes 2"),
            ([0.0, 20.0, 380.0], None, "--angles 0 20 380 names an angle twice"),
            ([0.0, float("inf")], None, "--angles 0 inf has to hold finite numbers"),
        ],
    )
    def test_angles_that_contradict_are_refused(self, angles, num_tasks, sentence):
        with pytest.raises(InvalidOptionError, match=sentence):
            cut(few_digits(), Rotated(angles=angles), num_tasks=num_tasks)

    def test_rotation_needs_images(self):
        with pytest.raises(InvalidOptionError, match="use --stream permuted"):
            cut(numbered(), "rotated")
        with pytest.raises(InvalidOptionError, match="use --stream permuted"):
            cut(numbered(), Rotated(angles=[0.0]), num_tasks=None)

    def test_samples_of_several_tasks_in_one_batch(self):
        data = few_digits()
        tasks, _ = cut(data, "permuted")
        mixed = task_entries([task.rows[:5] for task in tasks])
        source = Source(data.x, data.y, tasks)
        together = source.samples(type(mixed[0]).concatenate(mixed))
        assert torch.equal(together, torch.cat([source.samples(entries) for entries in mixed]))


class TestInstances:
    def test_each_task_gets_an_equal_share_of_every_class(self):
        data = numbered()
        tasks, n_outputs = cut(data, "instance", num_tasks=4)
        assert n_outputs == N_CLASSES
        for split, y in (("rows", data.y), ("rows_test", data.y_test)):
            rows = [getattr(task, split) for task in tasks]
            assert sorted(torch.cat(rows).tolist()) == list(range(len(y)))
            counts = torch.stack([torch.bincount(y[r], minlength=N_CLASSES) for r in rows])
            assert int((counts.max(0).values - counts.min(0).values).max()) <= 1

    def test_seed(self):
        data = numbered()
        first, again, other = (cut(data, "instance", seed=seed)[0][0].rows.tolist() for seed in (0, 0, 1))
        assert first == again != other


class TestContexts:
    def test_tasks_are_those_of_the_data(self):
        data = numbered(contexts=4)
        tasks, n_outputs = cut(data, "contexts", num_tasks=None)
        assert (len(tasks), n_outputs) == (4, N_CLASSES)
        for number, task in enumerate(tasks):
            assert task.rows.tolist() == (data.contexts == number).nonzero()[:, 0].tolist()
            assert task.rows_test.tolist() == (data.contexts_test == number).nonzero()[:, 0].tolist()

    def test_data_without_contexts(self):
        with pytest.raises(InvalidOptionError, match="carries no task ids"):
            cut(numbered(), "contexts", num_tasks=None)

    def test_another_number_of_tasks(self):
        with pytest.raises(InvalidOptionError, match="has 4 tasks"):
            cut(numbered(contexts=4), "contexts", num_tasks=3)


class TestMakeTasks:
    @pytest.mark.parametrize(
        ("option", "given"),
        [
            ({"increment": [1, 0]}, "--increment"),
            ({"class_order": [1, 0]}, "--class_order"),
            ({"class_order_seed": 0}, "--class_orders or --class_order_seed"),
        ],
    )
    def test_data_with_tasks_of_its_own_is_not_split_into_classes(self, option, given):
        stream = Auto(**option)
        with pytest.raises(InvalidOptionError, match=f"^{given} splits classes, but --stream contexts"):
            stream.for_data(numbered(contexts=4))

    def test_the_order_of_the_classes_has_a_seed_of_its_own(self):
        def classes(seed, order=None):
            tasks, _ = cut(numbered(), ClassSplit(class_order_seed=order), seed=seed)
            return [numbered().y[task.rows].unique().tolist() for task in tasks]

        orders = [classes(seed, order) for seed in range(2) for order in range(5)]
        assert orders[:5] == orders[5:] == [classes(order) for order in range(5)]
        assert any(order != orders[0] for order in orders)

    def test_an_empty_task(self):
        with pytest.raises(DataError, match="Task 36 of numbered has no test samples"):
            cut(numbered(), "instance", num_tasks=40)
