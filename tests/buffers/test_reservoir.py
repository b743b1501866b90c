import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from redwood.buffers import ReservoirBuffer, reservoir

ALPHA = 1e-3


def uniform_p_value(counts: Tensor, n_drawn: int, n_trials: int) -> float:
    """P-value of equal inclusion probabilities, `n_drawn` of len(counts) being drawn without replacement per trial."""
    n = len(counts)
    expected = n_trials * n_drawn / n
    statistic = float(((counts - expected) ** 2).sum() / expected) * (n - 1) / (n - n_drawn)
    half_df, half_statistic = torch.tensor([(n - 1) / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half_df, half_statistic))


def sequential_algorithm_r(uniforms: list[float], n: int, capacity: int) -> list[int]:
    """Vitter's algorithm R, one sample at a time: the arrival stored in each slot."""
    slots: list[int] = []
    draws = iter(uniforms)
    for i in range(n):
        if i < capacity:
            slots.append(i)
        elif (slot := math.floor(next(draws) * (i + 1))) < capacity:
            slots[slot] = i
    return slots


def fill(buffer: ReservoirBuffer, n: int, batch_size: int, start: int = 0) -> None:
    for first in range(start, start + n, batch_size):
        buffer.add(arrival=torch.arange(first, min(first + batch_size, start + n)))


class TestInclusion:
    @pytest.mark.parametrize(
        ("n", "capacity", "batch_size"), [(2, 1, 1), (40, 8, 1), (40, 8, 7), (40, 8, 16), (40, 8, 40), (41, 40, 41)]
    )
    def test_every_arrival_is_equally_likely_to_be_kept(self, n: int, capacity: int, batch_size: int) -> None:
        n_trials = 600
        counts = torch.zeros(n)
        for trial in range(n_trials):
            buffer = ReservoirBuffer(capacity, seed=trial)
            fill(buffer, n, batch_size)
            counts[buffer.sample(capacity)["arrival"]] += 1
        assert counts.sum() == n_trials * capacity
        assert uniform_p_value(counts, capacity, n_trials) > ALPHA

    @pytest.mark.parametrize("batch_size", [1, 5, 16, 100, 1000])
    @pytest.mark.parametrize("capacity", [1, 16, 50])
    def test_equals_the_sequential_algorithm(self, capacity: int, batch_size: int) -> None:
        n = 1000
        generator = torch.Generator().manual_seed(3)
        uniforms = torch.rand(n - capacity, dtype=torch.float64, generator=generator)
        buffer = ReservoirBuffer(capacity, seed=3)
        fill(buffer, n, batch_size)
        slots = buffer.state_dict()["rows"]["arrival"]
        assert slots.tolist() == sequential_algorithm_r(uniforms.tolist(), n, capacity)

    def test_everything_is_kept_until_the_buffer_is_full(self) -> None:
        buffer = ReservoirBuffer(10)
        fill(buffer, 7, 3)
        assert len(buffer) == buffer.n_seen == 7
        assert sorted(buffer.sample(10)["arrival"].tolist()) == list(range(7))

    def test_counts(self) -> None:
        buffer = ReservoirBuffer(10)
        fill(buffer, 25, 4)
        assert (len(buffer), buffer.n_seen, buffer.capacity) == (10, 25, 10)

    def test_the_last_of_several_samples_takes_a_slot(self) -> None:
        uniforms = torch.tensor([0.1, 0.9, 0.1, 0.1], dtype=torch.float64)
        slots, accepted = reservoir.replacements(uniforms, n_seen=4, capacity=4)
        assert slots.tolist() == [0]
        assert accepted.tolist() == [3]


class TestSample:
    # The first two draw by permutation, the last two by rejection.
    @pytest.mark.parametrize(("stored", "n"), [(20, 5), (40, 39), (200, 4), (400, 12)])
    def test_distinct_and_uniform(self, stored: int, n: int) -> None:
        n_trials = 3000
        buffer = ReservoirBuffer(stored, seed=1)
        fill(buffer, stored, stored)
        counts = torch.zeros(stored)
        for _ in range(n_trials):
            drawn = buffer.sample(n)["arrival"]
            counts[drawn] += 1
            assert len(set(drawn.tolist())) == len(drawn) == n
        assert uniform_p_value(counts, n, n_trials) > ALPHA

    def test_rejection_goes_on_until_enough_are_distinct(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reservoir, "_REJECTION_FROM", 0)
        self.test_distinct_and_uniform(30, 29)

    def test_order_is_random(self) -> None:
        buffer = ReservoirBuffer(4)
        fill(buffer, 4, 4)
        orders = {tuple(buffer.sample(4)["arrival"].tolist()) for _ in range(400)}
        assert len(orders) == math.factorial(4)

    def test_no_more_than_stored(self) -> None:
        buffer = ReservoirBuffer(10)
        fill(buffer, 3, 3)
        assert sorted(buffer.sample(8)["arrival"].tolist()) == [0, 1, 2]

    def test_a_draw_is_a_copy(self) -> None:
        buffer = ReservoirBuffer(4)
        fill(buffer, 4, 4)
        buffer.sample(4)["arrival"].zero_()
        assert sorted(buffer.sample(4)["arrival"].tolist()) == [0, 1, 2, 3]


class TestRows:
    @pytest.mark.parametrize("shape", [(), (3,), (1, 8, 8), (3, 5, 7)])
    @pytest.mark.parametrize(
        "dtype", [torch.uint8, torch.bool, torch.int16, torch.int64, torch.bfloat16, torch.float32, torch.float64]
    )
    def test_dtype_shape_and_values_are_kept(self, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        n = 120
        x = torch.randint(2 if dtype == torch.bool else 100, (n, *shape), generator=torch.Generator().manual_seed(0))
        x = x.to(dtype)
        buffer = ReservoirBuffer(16, seed=2)
        for i in range(0, n, 12):
            buffer.add(x=x[i : i + 12], index=torch.arange(i, i + 12))
        drawn = buffer.sample(16)
        assert drawn["x"].dtype == dtype
        assert drawn["x"].shape == (16, *shape)
        assert drawn["index"].max() >= 16  # rows were replaced, not only filled
        assert torch.equal(drawn["x"], x[drawn["index"]])

    def test_unaligned_and_strided_leaves(self) -> None:
        flat = torch.arange(1 + 90 * 8).to(torch.uint8)
        unaligned = flat[1:].view(90, 8)
        strided = unaligned.t().contiguous().t()
        buffer = ReservoirBuffer(9)
        for i in range(0, 90, 30):
            buffer.add(unaligned=unaligned[i : i + 30], strided=strided[i : i + 30], index=torch.arange(i, i + 30))
        drawn = buffer.sample(9)
        assert torch.equal(drawn["unaligned"], unaligned[drawn["index"]])
        assert torch.equal(drawn["strided"], unaligned[drawn["index"]])

    def test_gradients_are_not_kept(self) -> None:
        logits = torch.ones(20, 3, requires_grad=True) * 2
        buffer = ReservoirBuffer(4)
        buffer.add(logits=logits)
        buffer.add(logits=logits)
        assert not buffer.sample(4)["logits"].requires_grad

    def test_nbytes_counts_every_allocated_byte(self) -> None:
        buffer = ReservoirBuffer(50)
        assert buffer.nbytes == 0
        buffer.add(x=torch.zeros(2, 3, 5, dtype=torch.uint8), y=torch.zeros(2).long(), logits=torch.zeros(2, 10))
        assert buffer.nbytes == 50 * (3 * 5 + 8 + 10 * 4)

    def test_an_empty_batch_changes_nothing(self) -> None:
        buffer = ReservoirBuffer(4)
        fill(buffer, 9, 9)
        before = buffer.state_dict()
        buffer.add(arrival=torch.arange(0))
        assert buffer.n_seen == 9
        assert torch.equal(buffer.state_dict()["rows"]["arrival"], before["rows"]["arrival"])


class TestState:
    @pytest.mark.parametrize("n", [0, 5, 200])
    def test_goes_on_identically_after_a_round_trip(self, n: int, tmp_path: Path) -> None:
        original, restored = ReservoirBuffer(8, seed=5), ReservoirBuffer(8, seed=99)
        fill(original, n, 10)
        torch.save(original.state_dict(), tmp_path / "buffer.pt")
        restored.load_state_dict(torch.load(tmp_path / "buffer.pt", weights_only=True))
        assert (len(restored), restored.n_seen) == (len(original), original.n_seen)
        for buffer in (original, restored):
            fill(buffer, 100, 7, start=n)
        for _ in range(5):
            assert torch.equal(original.sample(3)["arrival"], restored.sample(3)["arrival"])
        assert original.nbytes == restored.nbytes

    def test_is_a_snapshot(self) -> None:
        buffer = ReservoirBuffer(4)
        fill(buffer, 4, 4)
        state = buffer.state_dict()
        fill(buffer, 100, 10, start=4)
        assert state["rows"]["arrival"].tolist() == [0, 1, 2, 3]
        assert state["n_seen"] == 4

    def test_another_capacity_is_refused(self) -> None:
        with pytest.raises(ValueError, match="holds 4 samples and this one 5; make it with capacity=4"):
            ReservoirBuffer(5).load_state_dict(ReservoirBuffer(4).state_dict())

    def test_rows_move(self) -> None:
        buffer = ReservoirBuffer(4)
        fill(buffer, 4, 4)
        assert buffer.to("meta").sample(2)["arrival"].device.type == "meta"
        buffer.add(arrival=torch.arange(9, device="meta"))
        assert buffer.n_seen == 13

    def test_the_seed_decides(self) -> None:
        def kept(seed: int) -> list[int]:
            buffer = ReservoirBuffer(8, seed=seed)
            fill(buffer, 100, 10)
            draw: list[int] = buffer.sample(5)["arrival"].tolist()
            return draw

        assert kept(1) == kept(1) != kept(2)

    def test_the_global_generator_is_untouched(self) -> None:
        before = torch.get_rng_state()
        buffer = ReservoirBuffer(8)
        fill(buffer, 500, 10)
        buffer.sample(8)
        buffer.sample(1)
        buffer.load_state_dict(buffer.state_dict())
        assert torch.equal(torch.get_rng_state(), before)


class TestErrors:
    def test_capacity(self) -> None:
        with pytest.raises(ValueError, match="at least 1 sample, got 0"):
            ReservoirBuffer(0)

    def test_empty(self) -> None:
        with pytest.raises(ValueError, match="empty buffer; call `add` first"):
            ReservoirBuffer(3).sample(1)

    @pytest.mark.parametrize("n", [0, -1])
    def test_number_drawn(self, n: int) -> None:
        buffer = ReservoirBuffer(3)
        fill(buffer, 3, 3)
        with pytest.raises(ValueError, match=f"at least 1, got {n}"):
            buffer.sample(n)

    @pytest.mark.parametrize(
        ("leaves", "message"),
        [
            ({}, "got no leaf"),
            ({"x": torch.zeros(3, 2), "y": torch.zeros(2)}, r"got x \(3, 2\), y \(2,\)"),
            ({"x": torch.zeros(3, 2), "y": torch.tensor(1.0)}, r"y \(\)"),
            ({"x": torch.zeros(3, 2)}, r"stores the leaves \['x', 'y'\], got \['x'\]"),
            ({"x": torch.zeros(3, 4), "y": torch.zeros(3)}, r"Leaf x .* rows \(2,\) torch.float32, got \(4,\)"),
            ({"x": torch.zeros(3, 2), "y": torch.zeros(3).long()}, r"Leaf y .* got \(\) torch.int64"),
            ({"x": torch.zeros(3, 2, device="meta"), "y": torch.zeros(3)}, "Leaf x .* on cpu, got one on meta"),
        ],
    )
    def test_leaves(self, leaves: dict[str, Tensor], message: str) -> None:
        buffer = ReservoirBuffer(4)
        buffer.add(x=torch.zeros(2, 2), y=torch.zeros(2))
        with pytest.raises(ValueError, match=message):
            buffer.add(**leaves)
        assert buffer.n_seen == 2


def test_works_with_torch_alone() -> None:
    script = """
import sys
for name in ("numpy", "gymnasium", "pytorch_lightning", "lightning"):
    sys.modules[name] = None
import torch
from redwood.buffers import ReservoirBuffer
buffer = ReservoirBuffer(2000)
buffer.add(x=torch.zeros(5000, 8))
assert buffer.sample(3)["x"].shape == (3, 8)
assert not {"redwood.settings", "redwood.methods"} & set(sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_rows_equal_host_rows_and_are_never_waited_for() -> None:
    host, device = ReservoirBuffer(50, seed=4), ReservoirBuffer(50, seed=4)
    batches = torch.randint(0, 256, (20, 32, 3, 8, 8)).to(torch.uint8)
    on_device = batches.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in on_device:
            device.add(x=batch)
        drawn = device.sample(16)["x"]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for batch in batches:
        host.add(x=batch)
    assert drawn.is_cuda
    assert torch.equal(drawn.cpu(), host.sample(16)["x"])
    assert device.to("cpu").sample(16)["x"].device.type == "cpu"
