"""Our splits are continuum's own; a module of its own, since importing continuum takes seconds."""

from itertools import chain

import numpy as np
import pytest
from continuum.datasets import InMemoryDataset
from continuum.scenarios import ClassIncremental, InstanceIncremental

from redwood.settings.data.dataset import Dataset
from redwood.settings.streams.cuts import ClassSplit
from redwood.settings.streams.tasks import STREAMS, Cut, make_tasks

RNG = np.random.default_rng(1)
X = RNG.integers(0, 256, (160, 4, 4), dtype=np.uint8)
Y = RNG.permutation(np.arange(160) % 8)
T = RNG.permutation(np.arange(160) % 4)
ORDERS = ([0, 1, 2, 3, 4, 5, 6, 7], [5, 0, 3, 7, 6, 1, 4, 2])


def our_tasks(stream, num_tasks=None):
    """Samples, as bytes, with their label, in no order: a list per task."""
    data = Dataset.from_arrays(X, Y, X, Y, T, T)
    tasks, _ = make_tasks(data, STREAMS.make(stream), Cut(num_tasks, shared_outputs=False, seed=0))
    return [multiset(X[task.rows.numpy()], Y[task.rows.numpy()]) for task in tasks]


def continuums_tasks(scenario):
    return [multiset(tasks._x, scenario_labels(scenario, tasks)) for tasks in scenario]


def scenario_labels(scenario, tasks):
    own = getattr(scenario, "get_original_targets", None)
    return own(tasks._y) if own else tasks._y


def multiset(x, y):
    return sorted((sample.tobytes(), int(label)) for sample, label in zip(x, y, strict=True))


class TestClassIncremental:
    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("increment", [[1], [2], [4], [8], [3, 3, 2], [1, 4, 3]])
    def test_same_samples_and_labels_in_each_task(self, increment, order):
        step = increment[0] if len(increment) == 1 else increment
        theirs = ClassIncremental(InMemoryDataset(X, Y), increment=step, class_order=order)
        assert our_tasks(ClassSplit(increment=increment, class_order=order)) == continuums_tasks(theirs)

    @pytest.mark.parametrize("order", ORDERS)
    def test_a_number_of_tasks_that_divides_the_classes(self, order):
        theirs = ClassIncremental(InMemoryDataset(X, Y), increment=2, class_order=order)
        assert our_tasks(ClassSplit(class_order=order), num_tasks=4) == continuums_tasks(theirs)


class TestInstanceIncremental:
    def test_tasks_that_the_data_names(self):
        theirs = InstanceIncremental(InMemoryDataset(X, Y, T))
        assert our_tasks("contexts") == continuums_tasks(theirs)

    @pytest.mark.parametrize("num_tasks", [2, 4, 5])
    def test_drawn_tasks_hold_as_many_samples_and_all_of_them(self, num_tasks):
        theirs = continuums_tasks(InstanceIncremental(InMemoryDataset(X, Y), nb_tasks=num_tasks))
        ours = our_tasks("instance", num_tasks=num_tasks)
        assert sorted(map(len, ours)) == sorted(map(len, theirs))
        assert sorted(chain(*ours)) == sorted(chain(*theirs))
