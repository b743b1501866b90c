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
    assert out.samples["x"].data_ptr() == drawn["x"].data_ptr()


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
    rows.move("mmap", None, 6)
    assert rows.tier == "mmap"
    assert torch.equal(rows.read(torch.tensor([5, 0, 3, 2]))["x"], SAMPLES["x"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_failed_move_changes_nothing() -> None:
    rows = storage()
    with pytest.raises(ValueError, match="needs a CUDA device"):
        rows.move("cuda", torch.device("cuda"), 6)
    assert rows.tier == "host"
    assert rows.read(torch.tensor([5, 0]))["y"].tolist() == [0, 1]


ROUTES = ["row by row", "leaf by leaf", "word by word"]


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """All ways in which rows are written: small ones, large ones, and without NumPy."""
    if request.param == "word by word":
        monkeypatch.setattr("redwood.buffers.storage.as_whole_rows", lambda rows: None)
    monkeypatch.setattr("redwood.buffers.storage.DIRECT_FROM", 0 if request.param == "leaf by leaf" else 2**30)
    return str(request.param)


class TestRoutes:
    def written(self, samples: dict[str, torch.Tensor], n: int) -> dict[str, torch.Tensor]:
        """What is read after the samples were written to every other slot, from the last one on."""
        rows = RowStorage(RowLayout.of(samples), 2 * n)
        slots = 2 * torch.arange(n - 1, -1, -1)
        rows.write(slots, samples)
        read: dict[str, torch.Tensor] = rows.read(slots)
        return read

    @pytest.mark.parametrize("stage", [1, 100, 2**19])
    @pytest.mark.parametrize("n", [1, 2, 7, 64])
    def test_any_number_of_rows_in_parts_of_any_size(
        self, route: str, n: int, stage: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("redwood.buffers.storage.STAGE", stage)
        x = torch.randint(0, 256, (n, 3, 5), generator=torch.Generator().manual_seed(n)).to(torch.uint8)
        samples = {"x": x, "y": torch.arange(n), "half": torch.arange(n).to(torch.bfloat16), "yes": x[:, 0, 0] > 99}
        read = self.written(samples, n)
        assert all(torch.equal(read[name], leaf) for name, leaf in samples.items())

    def test_unaligned_and_strided_samples(self, route: str) -> None:
        flat = torch.arange(1 + 9 * 16).to(torch.uint8)
        unaligned = flat[1:].view(9, 16)
        strided = unaligned.t().contiguous().t()
        for samples in (unaligned, strided, unaligned[::2], unaligned.flip(0), unaligned[:1].expand(9, 16)):
            assert torch.equal(self.written({"x": samples}, len(samples))["x"], samples)

    def test_memory_that_starts_anywhere(self, route: str) -> None:
        whole = torch.arange(400).to(torch.uint8)
        for start in range(16):
            outside = torch.frombuffer(bytearray(bytes(400)), dtype=torch.uint8, offset=start)
            outside.copy_(whole[start:])
            samples = outside[:320].view(20, 16)
            assert torch.equal(self.written({"x": samples}, 20)["x"], samples)

    def test_conjugated_samples_and_gradients(self, route: str) -> None:
        x = torch.complex(torch.arange(6.0), torch.ones(6)).view(3, 2)
        assert torch.equal(self.written({"x": x.conj()}, 3)["x"], x.conj().resolve_conj())
        read = self.written({"x": torch.ones(3, 2, requires_grad=True)}, 3)["x"]
        assert not read.requires_grad
        assert torch.equal(read, torch.ones(3, 2))


def test_given_rows_are_filled_again_and_again() -> None:
    rows = storage()
    out = rows.rows_like(2)
    for slots, labels in (([5, 3], [0, 2]), ([0, 2], [1, 3])):
        assert rows.read(torch.tensor(slots), out=out) is out.samples
        assert out.samples["y"].tolist() == labels
