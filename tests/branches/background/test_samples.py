"""Background samples are brought to the form of the stream."""

import dataclasses

import pytest
import torch

from redwood.branches.background.samples import background_like, digest_of
from redwood.core.errors import DataError
from redwood.settings.data.dataset import Dataset
from redwood.settings.streams.spaces import observation_space_of
from tests.methods.helpers import one_sentence
from tests.samples import few_digits

DIGITS = few_digits()


def made(shape, dtype=torch.uint8, highest=255, **fields):
    x = (torch.arange(4 * torch.Size(shape).numel()).view(4, *shape) % (highest + 1)).to(dtype)
    y = torch.tensor([0, 1, 0, 1])
    return Dataset("other", x, y, x, y, max_value=None if dtype.is_floating_point else highest, **fields)


def like(stream, background):
    """The samples of `background` in the form of those of `stream`."""
    return background_like(stream.name, observation_space_of(stream), background)


class TestForm:
    def test_samples_of_the_same_form_stay_as_they_are(self):
        other = dataclasses.replace(DIGITS, name="other")
        drawn = like(DIGITS, other).draw(500)
        assert drawn.dtype == torch.uint8
        rows = {tuple(row) for row in DIGITS.x.flatten(1).tolist()}
        assert {tuple(row) for row in drawn.flatten(1).tolist()} <= rows

    @pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 16, 16), (3, 5, 9)])
    def test_images_are_resized_lose_their_colours_and_take_the_range(self, shape):
        drawn = like(DIGITS, made(shape)).draw(20)
        assert drawn.shape == (20, 1, 8, 8)
        assert drawn.dtype == torch.uint8
        assert int(drawn.max()) <= 16
        assert float(drawn.float().mean()) > 1

    def test_grey_images_get_equal_channels(self):
        stream = made((3, 8, 8))
        drawn = like(stream, DIGITS).draw(20)
        assert drawn.shape == (20, 3, 8, 8)
        assert torch.equal(drawn[:, 0], drawn[:, 2])
        assert int(drawn.max()) > 200

    def test_vectors_of_one_length(self):
        assert like(made((5,), highest=10), dataclasses.replace(made((5,)), name="b")).draw(3).shape == (
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
        like(DIGITS, other)
    assert one_sentence(e.value)


@pytest.mark.parametrize(
    "other",
    [
        made((1, 8, 8), highest=16),
        dataclasses.replace(made((1, 8, 8)), x=made((1, 8, 8)).x.flip(0)),
        dataclasses.replace(made((1, 8, 8)), y=torch.tensor([0, 1, 1, 0])),
        made((2, 8, 8)),
    ],
    ids=["values", "order", "labels", "shape"],
)
def test_the_digest_tells_data_of_one_name_apart(other):
    assert digest_of(made((1, 8, 8))) == digest_of(made((1, 8, 8))) != digest_of(other)
