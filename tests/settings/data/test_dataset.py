import warnings

import numpy as np
import pytest

from redwood.core.errors import DataError
from redwood.settings import Dataset
from redwood.settings.data.dataset import describe_data
from redwood.settings.scores.slices import slicing_of

X, Y = np.zeros((6, 4), np.float32), np.arange(6) % 3
NAMES = np.array(["ash", "elm", "oak"])
IMAGES = np.zeros((6, 8, 8, 3), np.uint8)


def make(x=X, y=Y):
    return Dataset.from_arrays(x, y, x, y)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"y": np.array(["ash", 1, None] * 2, dtype=object)},
            r"the labels are no array of numbers \(ndarray of str\); give integers 0..K-1, or texts alone",
        ),
        ({"y": [[0], [1, 2]]}, r"the labels are no array of numbers \(list of list\)"),
        ({"x": NAMES[Y]}, "the samples are no array of numbers"),
        (
            {"x": [np.zeros(2), np.zeros(3)]},
            r"samples .*\(list of ndarray\); give numbers of one shape for all",
        ),
        ({"x": X[:, 0]}, r"samples need a second dimension; pass x\[:, None\]"),
        ({"x": 3, "y": 4}, "need a first dimension"),
        ({"x": X.astype(complex)}, "samples of type torch.complex128 are not known"),
        ({"x": X.astype(np.uint16)}, "samples of type torch.uint16 are not known; convert them to float32"),
        ({"y": np.eye(3, dtype=int)[Y]}, r"labels have shape \(6, 3\); pass y.argmax\(1\) of one-hot rows"),
        ({"y": Y - 1}, "labels must not be negative, got -1; number them from 0 on"),
        ({"y": Y[:, None]}, r"labels have shape \(6, 1\); pass y.ravel\(\)"),
        ({"x": IMAGES}, r"\(8, 8, 3\) look like images whose channels come last, not first; pass numpy.moveaxis"),
    ],
)
def test_what_cannot_be_learned_from_is_told_with_a_remedy(given, sentence):
    with pytest.raises(DataError, match=sentence):
        make(**given)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((Y, X), r"the first array is \(6,\) and the second \(6, 4\), but samples come before labels: the order is x"),
        ((X, X[:3], Y, Y[:3]), r"the second array \(3, 4\) looks like samples, .* the order is x, y, x_test, y_test"),
        ((X, Y[:, None]), r"labels have shape \(6, 1\); pass y.ravel\(\)"),
        ((X, [[1], [1, 2]]), "y is a list with entries of several shapes; make"),
    ],
)
def test_arrays_in_another_order_or_shape(given, sentence):
    with pytest.raises(DataError, match=sentence):
        Dataset.from_arrays(*given)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((X[:0], Y[:0]), "Data set arrays: there are no samples to learn from and to test on; add some"),
        (([], []), "there are no samples to learn from and to test on"),
        ((X[:0], Y[:0] + 0.5), "there are no samples to learn from and to test on"),
        ((X[:0], Y[:0], X, Y), "there are no training samples; add some"),
        (([], Y, X, Y), "there are no training samples; add some"),
        ((X, Y, X[:0], Y[:0]), "there are no test samples; add some"),
        ((X, Y[:0], X, Y), "6 training samples need as many labels"),
    ],
)
def test_no_samples_are_told(given, sentence):
    with pytest.raises(DataError, match=sentence):
        Dataset.from_arrays(*given)


def test_numbers_to_predict_may_have_the_shape_of_the_samples():
    assert Dataset.from_arrays(X, X + 0.5, X, X + 0.5).n_outputs == 4
    assert Dataset.from_arrays(X, Y[:, None] + 0.5, X, Y[:, None] + 0.5).is_regression


def test_the_remedies_work():
    assert make(y=Y[:, None].ravel()).n_classes == 3
    assert make(x=np.moveaxis(IMAGES, -1, 1)).sample_shape == (3, 8, 8)
    assert make(x=X[:, 0][:, None]).sample_shape == (1,)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"x": IMAGES / 255}, "channels come last, not first; if so, pass numpy.moveaxis"),
        ({"y": Y.astype(float)}, r"floats are numbers to predict .* if they are classes, pass y.astype\(int\)"),
        ({"y": np.eye(3)[Y]}, r"if they are classes, pass y.argmax\(1\) of one-hot rows"),
    ],
)
def test_what_may_be_meant_otherwise_is_told(given, sentence):
    with pytest.warns(UserWarning, match=sentence) as told:
        make(**given)
    assert len(told) == 1


@pytest.mark.parametrize("given", [{"x": np.zeros((6, 3, 8, 8))}, {"x": np.zeros((6, 2, 4, 3))}, {"y": Y + 0.5}])
def test_nothing_is_told_of_the_usual(given):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(**given)


def test_reversed_and_foreign_arrays_are_numbers_like_others():
    values = np.arange(24, dtype=np.float32).reshape(6, 4)
    data = make(x=values[:, ::-1], y=Y[::-1])
    assert data.x.tolist() == values[:, ::-1].tolist() and data.y.tolist() == Y[::-1].tolist()
    assert make(x=values.astype(">f4")).x.tolist() == values.tolist()


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (make(), "<Dataset arrays: 6 training and 6 test samples (4,) float32, 3 classes>"),
        (
            make(y=Y + 0.5),
            "<Dataset arrays: 6 training and 6 test samples (4,) float32, numbers to predict, 1 for each sample>",
        ),
        (make(y=np.eye(3)[Y] > 0), "<Dataset arrays: 6 training and 6 test samples (4,) float32, 3 labels>"),
        (
            Dataset.from_arrays(
                np.zeros((1200, 1, 8, 8), np.uint8), np.arange(1200) % 2, IMAGES[:, None, ..., 0], Y % 2
            ),
            "<Dataset arrays: 1,200 training and 6 test samples (1, 8, 8) uint8, 2 classes>",
        ),
        (
            Dataset.from_arrays(X, NAMES[Y], X, NAMES[Y], NAMES[Y // 2], NAMES[Y // 2], name="a"),
            "<Dataset a: 6 training and 6 test samples (4,) float32, 3 classes (ash, elm, oak), 2 tasks (ash, elm)>",
        ),
    ],
)
def test_a_line_says_what_it_holds(data, line):
    assert repr(data) == line


class TestValidationMask:
    def make(self, mask, t=None):
        return Dataset.from_arrays(X, Y, X, Y, t, t, validation=mask)

    def test_it_is_kept_and_told_apart(self):
        data = self.make([True] * 3 + [False] * 3)
        assert data.validation.tolist() == [True] * 3 + [False] * 3
        facts = [describe_data(one) for one in (data, self.make([False] * 3 + [True] * 3), self.make(None))]
        assert len({fact.get("hash of validation mask") for fact in facts}) == 3

    @pytest.mark.parametrize(
        ("mask", "t", "sentence"),
        [
            ([True] * 5, None, r"needs one bool for each of the 6 training samples, got \(5,\) torch.bool"),
            ([1, 1, 1, 0, 0, 0], None, r"needs one bool .* got \(6,\) torch.int64"),
            ([True, False, False] * 2, None, "all training samples of class 0 are kept for validation; keep fewer"),
            ([False] * 3 + [True] * 3, np.array([0, 0, 0, 1, 1, 1]), "all training samples of task 1 are kept"),
        ],
    )
    def test_a_mask_that_does_not_fit(self, mask, t, sentence):
        with pytest.raises(DataError, match=sentence):
            self.make(mask, t)

    def test_numbers_need_samples_to_train_on_too(self):
        numbers = Y + 0.5
        with pytest.raises(DataError, match="all training samples are kept for validation"):
            Dataset.from_arrays(X, numbers, X, numbers, validation=[True] * 6)


class TestTexts:
    @pytest.mark.parametrize("labels", [NAMES[Y], list(NAMES[Y]), NAMES[Y].astype(object), NAMES[Y].astype(bytes)])
    def test_they_are_numbered_in_their_order_and_name_the_classes(self, labels):
        data = make(y=labels)
        assert data.y.tolist() == data.y_test.tolist() == Y.tolist() and data.class_names == tuple(NAMES)
        assert {type(name) for name in data.class_names} == {str}

    def test_numbers_as_texts_are_texts(self):
        assert make(y=np.array(["10", "9", "10", "9", "9", "10"])).class_names == ("10", "9")

    @pytest.mark.parametrize(
        ("y_test", "more", "sentence"),
        [
            (Y, {}, "Data set arrays has texts in y beside numbers in the other split; save both as texts"),
            (["ash", "fir"] * 3, {}, "Data set arrays: the class 'fir' of y_test never occurs in y; add samples"),
            (NAMES[Y], {"class_names": NAMES}, "texts name their classes; leave class_names out"),
        ],
    )
    def test_what_does_not_fit(self, y_test, more, sentence):
        with pytest.raises(DataError, match=sentence):
            Dataset.from_arrays(X, NAMES[Y], X, y_test, **more)


class TestWithoutTestSamples:
    N = 60
    X, Y, T = np.arange(N)[:, None], np.arange(N) % 3, np.arange(N) // 30

    def test_one_fifth_of_each_class_in_each_task_is_held_out(self):
        slices, mask = self.Y.astype(str), self.T == 0
        data = Dataset.from_arrays(self.X, NAMES[self.Y], t=self.T, slices=slices, task_names=["may", "june"])
        assert (
            np.unique(data.y_test.numpy() + 3 * data.contexts_test.numpy(), return_counts=True)[1].tolist() == [2] * 6
        )
        assert sorted([*data.x[:, 0].tolist(), *data.x_test[:, 0].tolist()]) == list(range(self.N))
        assert (data.task_names, data.class_names) == (("may", "june"), ("ash", "elm", "oak"))
        assert data.slices.tolist() == data.y.tolist() and data.slices_test.tolist() == data.y_test.tolist()
        assert (data.x_test % 3)[:, 0].tolist() == data.y_test.tolist(), "rows stay together"
        masked = Dataset.from_arrays(self.X, self.Y, validation=mask)
        assert masked.validation.tolist() == (masked.x[:, 0] < 30).tolist()

    def test_the_seed_draws_them(self):
        one, same, other = (Dataset.from_arrays(self.X, self.Y, seed=seed).x_test.tolist() for seed in (0, 0, 1))
        assert one == same != other

    @pytest.mark.parametrize("more", [{"time": -np.arange(N)}, {"ordered": True}, {"y": np.arange(N) + 0.5}])
    def test_they_lie_all_along_the_samples_where_order_matters(self, more):
        data = Dataset.from_arrays(**{"x": self.X, "y": self.Y % 1} | more)
        assert np.bincount(data.x_test[:, 0] // 5).tolist() == [1] * 12

    @pytest.mark.parametrize(
        ("more", "sentence"),
        [
            ({"x_test": X}, "x_test needs y_test; give both, or no array of test samples"),
            ({"t_test": T}, "t_test needs x_test and y_test; give both"),
            ({"y": Y[:5]}, "there are 60 samples, but 5 labels; give one for each"),
            ({"t": T[:5]}, "there are 5 values of t, but 60 labels; give one for each"),
            ({"y": np.arange(N)}, "fewer than 2 samples cannot be split"),
        ],
    )
    def test_what_does_not_fit(self, more, sentence):
        with pytest.raises(DataError, match=sentence):
            Dataset.from_arrays(**{"x": self.X, "y": self.Y} | more)

    def test_tasks_need_as_many_names(self):
        with pytest.raises(DataError, match="1 names do not fit 2 tasks"):
            Dataset.from_arrays(self.X, self.Y, t=self.T, task_names=["may"])
        with pytest.raises(DataError, match="task_names are those of the tasks t; give t, too"):
            Dataset.from_arrays(self.X, self.Y, task_names=["may"])

    def test_texts_are_tasks_in_the_order_of_their_numbers(self):
        weeks = np.array(["week 10", "week 2"])
        data = Dataset.from_arrays(self.X, self.Y, t=weeks[self.T])
        assert data.task_names == ("week 2", "week 10") and data.contexts_test.bincount().tolist() == [6, 6]
        assert data.contexts.tolist() == (data.x[:, 0] < 30).long().tolist()
        given = Dataset.from_arrays(X, Y, X, Y, list(weeks[Y // 2]), weeks[Y // 2].astype(bytes))
        assert given.contexts.tolist() == given.contexts_test.tolist() == (1 - Y // 2).tolist()

    @pytest.mark.parametrize(
        ("more", "sentence"),
        [
            ({"t": NAMES[T], "task_names": ["may", "june"]}, "tasks that are texts have names; leave task_names out"),
            (
                {"t": T + 0.5},
                "the task ids must be integers, got torch.float64; give the task of each sample in t as an integer",
            ),
            (
                {"t": [None, *NAMES[T[1:]]]},
                r"the task ids are no array of numbers \(ndarray of NoneType\); give the task",
            ),
            (
                {"x_test": X, "y_test": Y, "t": NAMES[T], "t_test": Y},
                "has texts in t beside numbers in the other split",
            ),
            (
                {"x_test": X, "y_test": Y, "t": NAMES[T], "t_test": NAMES[Y]},
                "the task 'oak' of t_test never occurs in t",
            ),
        ],
    )
    def test_tasks_that_do_not_fit(self, more, sentence):
        with pytest.raises(DataError, match=sentence):
            Dataset.from_arrays(self.X, self.Y, **more)


class TestClassNames:
    @pytest.mark.parametrize(
        ("names", "sentence"),
        [
            (("ash", "elm"), "3 classes need as many names, got 2"),
            (("ash", "elm", "ash"), "two classes are called 'ash'; give each a name of its own"),
            (("ash", "", "oak"), "texts that are not empty"),
            ((1, 2, 3), "texts that are not empty"),
        ],
    )
    def test_each_class_has_one_of_its_own(self, names, sentence):
        with pytest.raises(DataError, match=sentence):
            Dataset.from_arrays(X, Y, X, Y, class_names=names)

    def test_numbers_have_none(self):
        with pytest.raises(DataError, match="numbers are predicted, which have no class names"):
            Dataset.from_arrays(X, Y + 0.5, X, Y + 0.5, class_names=tuple(NAMES))

    def test_those_of_numpy_become_plain_texts(self):
        """A checkpoint with texts of NumPy could not be read."""
        data = Dataset.from_arrays(X, Y, X, Y, class_names=NAMES)
        assert data.class_names == ("ash", "elm", "oak") and {type(name) for name in data.class_names} == {str}

    def test_they_name_the_slices(self):
        data = Dataset.from_arrays(X, Y, X, Y, class_names=NAMES.tolist())
        assert slicing_of(data, "").names == ("ash", "elm", "oak")
