import pytest
import torch
from torch import Tensor

from redwood.buffers.layout import WORD, RowLayout, batch_size
from redwood.buffers.pytree import flatten

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int16,
    torch.int64,
    torch.float8_e4m3fn,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
]


def random_bits(n: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    values = torch.randint(2 if dtype == torch.bool else 100, (n, *shape), generator=torch.Generator().manual_seed(0))
    return values.to(torch.float32).to(dtype)


class TestRowLayout:
    def test_leaves_start_at_multiples_of_their_item_size(self) -> None:
        layout = RowLayout.of(
            {
                "a": torch.zeros(2, 3, dtype=torch.uint8),
                "b": torch.zeros(2, 3, dtype=torch.int16),
                "c": torch.zeros(2, dtype=torch.bool),
                "d": torch.zeros(2, dtype=torch.float64),
            }
        )
        assert [leaf.offset for leaf in layout.leaves] == [0, 4, 10, 16]
        assert [leaf.nbytes for leaf in layout.leaves] == [3, 6, 1, 8]
        assert (layout.stride, layout.words) == (32, 2)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("shape", [(), (3,), (2, 0), (1, 8, 8)])
    def test_typed_rows_are_views(self, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        x = random_bits(4, shape, dtype)
        layout = RowLayout.of({"odd": torch.zeros(4, 1, dtype=torch.uint8), "x": x})
        rows = torch.zeros(4, layout.words, dtype=WORD)
        typed = layout.typed(rows)["x"]
        assert (typed.dtype, typed.shape) == (dtype, x.shape)
        typed.copy_(x)
        again = layout.typed(rows[1:3])["x"]
        assert torch.equal(again.contiguous().view(torch.uint8), x[1:3].view(torch.uint8))

    @pytest.mark.parametrize(
        ("samples", "message"),
        [
            ({}, "got no leaf"),
            ({"x": torch.zeros(3), "y": torch.zeros(2)}, r"with one B, got x \(3,\), y \(2,\)"),
            ({"x": torch.zeros(3), "y": torch.tensor(1.0)}, r"got x \(3,\), y \(\)"),
        ],
    )
    def test_leaves_have_to_agree_in_number(self, samples: dict[str, Tensor], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            RowLayout.of(samples)

    @pytest.mark.parametrize(
        ("samples", "message"),
        [
            ({"x": torch.zeros(3, 2)}, "stores the leaves x, y, got x; add the same ones"),
            ({"x": torch.zeros(3, 2), "z": torch.zeros(3)}, "stores the leaves x, y, got x, z"),
            ({"x": torch.zeros(3, 4), "y": torch.zeros(3)}, r"Leaf x .* samples \(2,\) torch.float32, got \(4,\)"),
            ({"x": torch.zeros(3, 2), "y": torch.zeros(3).long()}, r"Leaf y .* got \(\) torch.int64; convert"),
        ],
    )
    def test_samples_that_do_not_fit(self, samples: dict[str, Tensor], message: str) -> None:
        layout = RowLayout.of({"x": torch.zeros(1, 2), "y": torch.zeros(1)})
        with pytest.raises(ValueError, match=message):
            layout.check(list(flatten(samples)))

    def test_number_of_samples(self) -> None:
        assert batch_size([("x", torch.zeros(5, 2)), ("y", torch.zeros(5))]) == 5
