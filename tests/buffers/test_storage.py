from pathlib import Path

import pytest
import torch

from redwood.buffers import RowLayout, RowStorage

SAMPLES = {
    "x": torch.arange(60).view(4, 3, 5).to(torch.uint8),
    "y": torch.arange(4),
    "logits": torch.arange(40.0).view(4, 10),
    "nothing": torch.zeros(4, 0),
}
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
EVERY_TIER = ["host", "mmap", pytest.param("cuda", marks=needs_cuda), pytest.param("pinned", marks=needs_cuda)]


def storage(tier: str = "host", directory: Path | None = None) -> RowStorage:
    rows = RowStorage(RowLayout.of(SAMPLES), 6, tier=tier, directory=str(directory) if directory else None)
    rows.write(torch.tensor([5, 0, 3, 2]), SAMPLES)
    return rows


@pytest.mark.parametrize("tier", EVERY_TIER)
class TestEveryTier:
    def test_what_was_written_is_read(self, tier: str, tmp_path: Path) -> None:
        drawn = storage(tier, tmp_path).read(torch.tensor([2, 5, 5, 0]))
        order = torch.tensor([3, 0, 0, 1])
        for name, leaf in SAMPLES.items():
            assert torch.equal(drawn[name].cpu(), leaf[order])
            assert drawn[name].dtype == leaf.dtype

    def test_rows_are_overwritten(self, tier: str, tmp_path: Path) -> None:
        rows = storage(tier, tmp_path)
        rows.write(torch.tensor([0]), {name: leaf[3:] for name, leaf in SAMPLES.items()})
        assert rows.read(torch.tensor([5, 0, 3, 2]))["y"].tolist() == [0, 3, 2, 3]

    def test_growing_keeps_rows(self, tier: str, tmp_path: Path) -> None:
        rows = storage(tier, tmp_path)
        rows.grow(100)
        assert rows.capacity == 100
        assert rows.nbytes == 100 * rows.layout.stride
        assert rows.read(torch.tensor([5, 0, 3, 2]))["y"].tolist() == [0, 1, 2, 3]
        rows.write(torch.tensor([99, 98, 97, 96]), SAMPLES)
        assert torch.equal(rows.read(torch.tensor([99, 98, 97, 96]))["x"].cpu(), SAMPLES["x"])

    def test_a_draw_is_a_copy_in_memory_of_the_same_kind(self, tier: str, tmp_path: Path) -> None:
        rows = storage(tier, tmp_path)
        drawn = rows.read(torch.tensor([0, 2]))["logits"]
        assert drawn.device == rows.device
        assert drawn.is_pinned() == (tier == "pinned")
        drawn.zero_()
        assert rows.read(torch.tensor([2]))["logits"].tolist() == SAMPLES["logits"][3:].tolist()


def test_reading_into_given_rows() -> None:
    rows = storage()
    out = rows.rows_like(2)
    drawn = rows.read(torch.tensor([5, 3]), out=out)
    assert drawn["y"].tolist() == [0, 2]
    assert rows.layout.typed(out)["x"].data_ptr() == drawn["x"].data_ptr()


def test_first_rows_are_views() -> None:
    rows = storage()
    rows.first(1)["y"][0] = 77
    assert rows.read(torch.tensor([0]))["y"].tolist() == [77]


def test_gradients_are_not_kept() -> None:
    leaf = torch.ones(3, 2, requires_grad=True) * 2
    rows = RowStorage(RowLayout.of(leaf), 3)
    rows.write(torch.arange(3), leaf)
    assert not rows.read(torch.arange(3)).requires_grad


def test_moving_to_another_tier(tmp_path: Path) -> None:
    rows = RowStorage(RowLayout.of(SAMPLES), 6, directory=str(tmp_path))
    rows.write(torch.tensor([5, 0, 3, 2]), SAMPLES)
    rows.move("mmap", None)
    assert rows.tier == "mmap"
    assert torch.equal(rows.read(torch.tensor([5, 0, 3, 2]))["x"], SAMPLES["x"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_failed_move_changes_nothing() -> None:
    rows = storage()
    with pytest.raises(ValueError, match="needs a CUDA device"):
        rows.move("cuda", torch.device("cuda"))
    rows.grow(9)
    assert rows.tier == "host"
    assert rows.read(torch.tensor([5, 0]))["y"].tolist() == [0, 1]
