"""Background samples are brought to the form of the stream."""

import dataclasses

import pytest
import torch

from redwood.core.errors import DataError, InvalidOptionError
from redwood.settings.data.background import background_like
from redwood.settings.data.dataset import Dataset
from tests.methods.helpers import one_sentence
from tests.samples import few_digits
from tests.small_runs import small_setting

DIGITS = few_digits()


def made(shape, dtype=torch.uint8, highest=255, **fields):
    x = (torch.arange(4 * torch.Size(shape).numel()).view(4, *shape) % (highest + 1)).to(dtype)
    y = torch.tensor([0, 1, 0, 1])
    return Dataset("other", x, y, x, y, max_value=None if dtype.is_floating_point else highest, **fields)


class TestForm:
    def test_samples_of_the_same_form_stay_as_they_are(self):
        other = dataclasses.replace(DIGITS, name="other")
        drawn = background_like(DIGITS, other).draw(500)
        assert drawn.dtype == torch.uint8
        rows = {tuple(row) for row in DIGITS.x.flatten(1).tolist()}
        assert {tuple(row) for row in drawn.flatten(1).tolist()} <= rows

    @pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 16, 16), (3, 5, 9)])
    def test_images_are_resized_lose_their_colours_and_take_the_range(self, shape):
        drawn = background_like(DIGITS, made(shape)).draw(20)
        assert drawn.shape == (20, 1, 8, 8)
        assert drawn.dtype == torch.uint8
        assert int(drawn.max()) <= 16
        assert float(drawn.float().mean()) > 1

    def test_grey_images_get_equal_channels(self):
        stream = made((3, 8, 8))
        drawn = background_like(stream, DIGITS).draw(20)
        assert drawn.shape == (20, 3, 8, 8)
        assert torch.equal(drawn[:, 0], drawn[:, 2])
        assert int(drawn.max()) > 200

    def test_vectors_of_one_length(self):
        assert background_like(made((5,), highest=10), dataclasses.replace(made((5,)), name="b")).draw(3).shape == (
            3,
            5,
        )


@pytest.mark.parametrize(
    "other", [made((5,)), made((1, 8, 8), torch.float32), made((2, 3, 4, 5))], ids=["vectors", "floats", "volumes"]
)
def test_what_cannot_be_brought_to_the_form(other):
    with pytest.raises(
        DataError, match=r"--background other has samples .* cannot be brought to the form of few_digits"
    ) as e:
        background_like(DIGITS, other)
    assert one_sentence(e.value)


def test_the_data_of_the_stream():
    with pytest.raises(InvalidOptionError, match="--background few_digits is the data set of the stream"):
        background_like(DIGITS, DIGITS)


def test_a_run_is_not_resumed_with_another_background():
    others = [made((1, 8, 8), highest=highest) for highest in (15, 16)]
    facts = [small_setting("class_incremental", background=other).open_stream().fingerprint() for other in others]
    plain = small_setting("class_incremental").open_stream().fingerprint()
    assert facts[0] != facts[1] and plain.items() < facts[0].items()
