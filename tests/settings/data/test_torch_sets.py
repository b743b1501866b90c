"""Data sets of torch: samples in memory and read when they are needed, transforms, labels, and bad input."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from redwood.core.errors import DataError, InvalidOptionError
from redwood.methods import Rehearsal
from redwood.settings import ClassIncrementalSetting, Table
from redwood.settings.data import images
from redwood.settings.data.dataset import describe_data
from redwood.settings.data.torch_sets import TorchSamples, from_torch
from tests.methods.helpers import one_sentence

N = 60
X = torch.arange(N * 12, dtype=torch.float32).view(N, 1, 3, 4) / 720
Y = torch.arange(N) % 3


class Pairs(Dataset):
    """Samples and labels that a function makes; counts what is read."""

    classes = ("a", "b", "c")

    def __init__(self, sample=lambda i: X[i], label=lambda i: int(Y[i]), n=N):
        self.sample, self.label, self.n, self.reads = sample, label, n, 0

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        self.reads += 1
        return self.sample(index), self.label(index)


class Kept(Pairs):
    """As torchvision's: the labels lie in `targets`."""

    targets = Y.tolist()
    target_transform = None


def made(*parts, image_size=0, seed=0):
    return from_torch("pairs", parts, seed, image_size)


def picture(index):
    return Image.fromarray(np.full((5, 4), index, np.uint8))


@pytest.mark.parametrize("source", [TensorDataset(X, Y), Pairs(), Kept(), Subset(Pairs(), range(N)),
                                    ConcatDataset([Pairs(n=30), Pairs(lambda i: X[i + 30], n=30)])])  # fmt: skip
def test_all_kinds_hold_the_same_samples(source):
    data = made(source)
    assert isinstance(data.x, torch.Tensor) and data.sample_shape == (1, 3, 4)
    assert describe_data(data) == describe_data(made(Pairs()))
    assert torch.cat([data.x, data.x_test]).sum() == X.sum()
    assert torch.equal((data.x[:, 0, 0, 0] * 60).round().long() % 3, data.y)


def test_classes_are_named_by_the_data_set():
    assert made(Pairs()).class_names == ("a", "b", "c") == made(Subset(Pairs(), range(30))).class_names
    assert made(TensorDataset(X, Y)).class_names == ()


def test_parts_have_the_names_that_they_agree_on():
    class Others(Pairs):
        classes = ("a", "c", "b")

    class More(Pairs):
        classes = ("a", "b", "c", "d")

    assert made(ConcatDataset([Pairs(), Pairs()])).class_names == ("a", "b", "c")
    more = More(label=lambda i: i % 4)
    assert made(more, Pairs()).class_names == made(ConcatDataset([Pairs(), more])).class_names == More.classes
    for parts in ([Pairs(), Others()], [ConcatDataset([Pairs(), Subset(Others(), range(6))])]):
        with pytest.raises(DataError, match="class 1 is called b in one part, and c in another") as caught:
            made(*parts)
        assert one_sentence(caught.value)


def test_classes_that_a_transform_numbers_anew_have_no_names():
    changed = Pairs(label=lambda i: 2 - int(Y[i]))
    changed.target_transform = lambda label: 2 - label
    assert made(changed).class_names == ()


def test_two_of_them_are_training_and_test():
    data = made(Pairs(), Pairs(n=6))
    assert (len(data.y), len(data.y_test)) == (N, 6) and torch.equal(data.x_test, X[:6])


def test_floats_are_numbers_to_predict():
    data = made(Pairs(label=lambda i: float(i)))
    assert data.is_regression and data.y_test.tolist() == sorted(data.y_test.tolist()), "test rows keep the order"


def test_images_of_pillow_become_bytes():
    data = made(Pairs(picture))
    assert data.x.dtype == torch.uint8 and data.sample_shape == (1, 5, 4) and data.max_value == 255
    assert made(Pairs(picture), image_size=6).sample_shape == (1, 6, 6)


def test_labels_that_are_kept_apart_are_not_read_from_samples(monkeypatch):
    monkeypatch.setattr(images, "MOST_BYTES", 0)
    source = Kept()
    made(source)
    assert source.reads < 10
    changed = Kept(label=lambda i: 2 - int(Y[i]))
    changed.target_transform = lambda label: 2 - label
    assert torch.equal(made(changed, changed).y, 2 - Y)


class TestLazily:
    @pytest.fixture(autouse=True)
    def nothing_in_memory(self, monkeypatch):
        monkeypatch.setattr(images, "MOST_BYTES", 0)

    def test_samples_are_read_when_they_are_needed(self):
        data = made(Pairs(), Pairs())
        assert isinstance(data.x, TorchSamples)
        assert torch.equal(data.x[torch.tensor([7, 2])], X[[7, 2]])

    def test_a_run_learns_as_from_memory(self, monkeypatch):
        setting = ClassIncrementalSetting(dataset=Pairs(), nb_tasks=3, passes=2)
        lazy = setting.apply(Rehearsal(buffer_size=10), quiet=True)
        monkeypatch.setattr(images, "MOST_BYTES", 2**30)
        kept = ClassIncrementalSetting(dataset=Pairs(), nb_tasks=3, passes=2).apply(
            Rehearsal(buffer_size=10), quiet=True
        )
        assert lazy.accuracy_matrix == kept.accuracy_matrix and lazy.online_curve == kept.online_curve

    def test_random_transforms_draw_once_for_each_sample_and_disturb_nobody(self):
        def noisy(index):
            return X[index] + torch.rand(()) + np.random.rand() + random.random()

        data = made(Pairs(noisy), Pairs(noisy))
        torch.manual_seed(3)
        before, both = torch.get_rng_state(), torch.tensor([4, 9])
        first, again = data.x[both], data.x[both.flip(0)].flip(0)
        assert torch.equal(first, again)
        assert not torch.allclose(first[0] - X[4], first[1] - X[9])
        assert torch.equal(torch.get_rng_state(), before)

    def test_another_shape_is_told(self):
        data = made(Pairs(), Pairs(lambda i: X[i] if i != 5 else X[i, :, :2]))
        with pytest.raises(DataError, match=r"sample 5 has the shape \(1, 2, 4\), others \(1, 3, 4\); make them alike"):
            data.x_test[torch.tensor([5])]


class NoLength(Dataset):
    def __getitem__(self, index):
        return X[index], 0


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (NoLength(), "has no length; define __len__"),
        (Pairs(n=0), "is empty; add samples"),
        (TensorDataset(X), "a sample is a tuple of 1, but has to be a pair"),
        (TensorDataset(X, Y, Y), "a sample is a tuple of 3, but has to be a pair"),
        (Pairs(lambda i: "text"), "x is a str, but has to be a tensor, an array or an image of Pillow"),
        (Pairs(label=lambda i: "cat"), "the labels are no numbers of one shape"),
        (Pairs(lambda i: X[i] if i else X[i, :, :2]), "has the shape"),
        (Pairs(label=lambda i: i % 3 - 1), "labels must not be negative, got -1"),
        (Pairs(label=lambda i: i), "fewer than 2 samples"),
        (Pairs(lambda i: X[i] / 0), "NaN or infinite"),
    ],
)
def test_bad_input_is_one_sentence(source, sentence):
    with pytest.raises(DataError, match=sentence) as caught:
        made(source)
    assert one_sentence(caught.value)


def test_they_are_no_tables():
    with pytest.raises(InvalidOptionError, match="Table reads no data of this kind, Pairs; pass it as dataset"):
        Table(Pairs(), task_column="site")
