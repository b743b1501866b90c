import pytest

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks.builtin import simple_cnn
from tests.methods.networks.spaces import images


@pytest.mark.parametrize("shape", [(64,), (8, 8), (1, 7, 8)])
def test_needs_images_of_eight_pixels(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidOptionError, match=r"simple_cnn needs images .* at least 8 x 8 pixels, got samples"):
        simple_cnn(images(*shape), 10)
