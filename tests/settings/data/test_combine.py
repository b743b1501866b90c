import pytest
import torch

from redwood.core.errors import DataError
from redwood.settings.data.combine import combine
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.views import View
from tests.samples import few_digits, numbered


def images(shape, dtype=torch.uint8, highest=255.0, value=None):
    """Two classes of four images each; the largest value is `highest`."""
    x = torch.full((8, *shape), highest if value is None else value).to(dtype)
    y = torch.arange(8) % 2
    return Dataset("images", x, y, x.clone(), y, max_value=None if dtype.is_floating_point else highest)


def joined(*data, **options):
    sets = {f"set{number}": one for number, one in enumerate(data)}
    return combine("all", [View(name, **options) for name in sets], sets.__getitem__, seed=0)


def test_rows_labels_and_tasks_follow_each_other():
    data = joined(few_digits(), few_digits(), classes=(3, 1), train_per_class=5, validation_per_class=2)
    assert data.n_classes == 4 and data.contexts.bincount().tolist() == [14, 14]
    assert (data.y // 2 == data.contexts).all() and (data.y_test // 2 == data.contexts_test).all()
    assert data.validation.sum() == 8 and data.max_value == 16


def test_without_validation_samples_there_is_no_mask():
    assert joined(numbered(), numbered()).validation is None


def test_images_get_the_largest_side_and_colour():
    data = joined(images((1, 8, 8)), images((3, 4, 6)), images((1, 12, 10)))
    assert data.sample_shape == (3, 12, 12) and data.x.dtype == torch.uint8
    assert (data.x == 255).all()


def test_integers_of_other_ranges_become_bytes():
    data = joined(images((1, 4, 4), highest=16.0, value=8), images((1, 4, 4), torch.int32, 1000.0))
    assert data.max_value == 255 and data.x.dtype == torch.uint8
    assert data.x[data.contexts == 0].unique().tolist() == [128]
    assert data.x[data.contexts == 1].unique().tolist() == [255]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            (numbered(), images((1, 8, 8), torch.float32)),
            r"all cannot bring samples of shape \(2,\) \(set0\) and",
        ),
        (
            (images((1, 8, 8)), images((4, 8, 8))),
            r"of shape \(4, 8, 8\) \(set1\) and \(1, 8, 8\) \(set0\) to",
        ),
        (
            (images((1, 8, 8)), images((1, 8, 8), torch.float32)),
            "mixes samples of torch.uint8 .* and torch.float32",
        ),
    ],
)
def test_what_cannot_be_joined(data, sentence):
    with pytest.raises(DataError, match=sentence):
        joined(*data)
