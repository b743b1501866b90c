import pytest
import torch

from redwood.core.errors import DataError
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.views import Draws, View, cut
from tests.regression import line
from tests.samples import few_digits, numbered


def ids(x):
    return x[:, 0].long().tolist()


def take(draws=None, data=None, **options):
    return cut(View("numbered", **options), data or numbered(), draws or Draws(0))


def test_a_view_of_all_is_all():
    data, task = numbered(), take()
    assert sorted(ids(task.x)) == list(range(66)) and sorted(ids(task.x_test)) == list(range(1000, 1036))
    assert torch.equal(task.y, data.y[ids(task.x)])
    assert not task.validation.any()


def test_classes_and_sizes():
    task = take(classes=(4, 1), train_per_class=5, validation_per_class=2, test_per_class=3)
    assert task.y.bincount().tolist() == [7, 7] and task.y[~task.validation].bincount().tolist() == [5, 5]
    assert task.y_test.bincount().tolist() == [3, 3]
    assert set(numbered().y[ids(task.x)][task.y == 0].tolist()) == {4}
    assert len(set(ids(task.x))) == 14


def test_labels_in_another_order():
    data, task = numbered(), take(classes=(4, 1, 2), label_order=(2, 0, 1))
    assert {(label, int(data.y[row])) for row, label in zip(ids(task.x), task.y.tolist(), strict=True)} == {
        (0, 2),
        (1, 4),
        (2, 1),
    }


def test_views_of_one_data_set_take_other_samples_as_long_as_there_are_enough():
    draws = Draws(0)
    sizes = {"train_per_class": 3, "validation_per_class": 1}
    first, second, third = (set(ids(take(draws, **sizes).x)) for _ in range(3))
    assert len(first) == len(second) == 24 and not first & second
    assert len(third) == 24 and len(third - first - second) == 18, "11 of each class: the third starts again"
    assert set(ids(take(Draws(1), **sizes).x)) != first


def test_test_samples_are_the_same_for_all_views():
    draws = Draws(0)
    assert ids(take(draws, test_per_class=2).x_test) == ids(take(draws, test_per_class=2).x_test)


class TestTransforms:
    def test_inverted(self):
        data = few_digits()
        task = cut(View("digits", transform="inverted", classes=(3,)), data, Draws(0))
        plain = cut(View("digits", classes=(3,)), data, Draws(0))
        assert torch.equal(task.x, 16 - plain.x) and task.x.dtype == torch.uint8 and task.max_value == 16

    def test_inverted_floats_keep_their_range(self):
        task = take(transform="inverted")
        assert (task.x.min(), task.x.max()) == (-65, 65)

    def test_permuted_by_the_seed(self):
        data = few_digits()
        one, again, other = (cut(View("d", transform="permuted", seed=seed), data, Draws(0)) for seed in (1, 1, 2))
        plain = cut(View("d"), data, Draws(0))
        assert torch.equal(one.x, again.x) and not torch.equal(one.x, other.x)
        assert torch.equal(one.x.flatten(1).sort().values, plain.x.flatten(1).sort().values)

    def test_rotated(self):
        data = few_digits()
        turned = cut(View("d", transform="rotated", angle=180), data, Draws(0))
        assert torch.equal(turned.x, cut(View("d"), data, Draws(0)).x.flip(2, 3))
        with pytest.raises(DataError, match="numbered holds no images to rotate; use permuted"):
            take(transform="rotated", angle=30)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"classes": (1, 6)}, r"numbered has no class 6, only 0\.\.5; leave it out"),
        ({"classes": (1, 2, 1)}, "name a class twice; name each once"),
        ({"label_order": (0, 1)}, r"label_order \[0, 1\] has to name each of 0\.\.5 once"),
        ({"train_per_class": 9, "validation_per_class": 3}, "has 11 training samples.* 3 for validation and 9 for tr"),
        (
            {"validation_per_class": 11},
            "class 0 .* has 11 training samples, which do not suffice for 11 for val",
        ),
    ],
)
def test_what_the_data_set_cannot_give(options, sentence):
    with pytest.raises(DataError, match=f"^Task odd: .*{sentence}"):
        take(name="odd", **options)


def test_numbers_to_predict_and_classes_that_are_never_tested():
    with pytest.raises(DataError, match="targets of line are numbers; a task needs classes"):
        cut(View("line"), line(), Draws(0))
    x, y = torch.zeros(4, 2), torch.tensor([0, 0, 1, 1])
    with pytest.raises(DataError, match="class 1 of half has no test samples; leave it out"):
        cut(View("half"), Dataset("half", x, y, x[:2], y[:2]), Draws(0))
