import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from redwood.buffers import (
    POLICIES,
    SAMPLERS,
    RehearsalBuffer,
    Ring,
    StorageError,
    storage,
)
from tests.buffers.helpers import feed, fill, score, stored, unchanged
from tests.buffers.test_layout import DTYPES, random_bits


class TestRows:
    @pytest.mark.parametrize("shape", [(), (3,), (1, 8, 8), (3, 5, 7)])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_dtype_shape_and_values_are_kept(self, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        x = random_bits(120, shape, dtype)
        buffer = RehearsalBuffer(16, seed=2)
        for i in range(0, 120, 12):
            buffer.add({"x": x[i : i + 12], "id": torch.arange(i, i + 12)})
        drawn = buffer.sample(16)
        assert drawn["x"].dtype == dtype
        assert drawn["x"].shape == (16, *shape)
        assert drawn["id"].max() >= 16  # rows were replaced, not only filled
        assert torch.equal(drawn["x"].contiguous().view(torch.uint8), x[drawn["id"]].view(torch.uint8))

    def test_unaligned_and_strided_leaves(self) -> None:
        unaligned = torch.arange(1 + 90 * 8).to(torch.uint8)[1:].view(90, 8)
        strided = unaligned.t().contiguous().t()
        buffer = RehearsalBuffer(9)
        for i in range(0, 90, 30):
            ids = torch.arange(i, i + 30)
            buffer.add({"unaligned": unaligned[i : i + 30], "strided": strided[i : i + 30], "id": ids})
        drawn = buffer.sample(9)
        assert torch.equal(drawn["unaligned"], unaligned[drawn["id"]])
        assert torch.equal(drawn["strided"], unaligned[drawn["id"]])

    def test_a_sample_may_be_one_tensor(self) -> None:
        buffer = RehearsalBuffer(4)
        buffer.add(torch.arange(12).view(6, 2))
        assert buffer.sample(3).shape == (3, 2)

    def test_gradients_are_not_kept(self) -> None:
        logits = torch.ones(20, 3, requires_grad=True) * 2
        buffer = RehearsalBuffer(4)
        buffer.add({"logits": logits})
        buffer.add({"logits": logits})
        assert not buffer.sample(4)["logits"].requires_grad

    def test_a_draw_is_a_copy(self) -> None:
        buffer = RehearsalBuffer(4)
        fill(buffer, 4)
        buffer.sample(4)["id"].zero_()
        buffer.all()["id"].zero_()
        assert stored(buffer) == [0, 1, 2, 3]

    def test_what_was_added_may_be_overwritten(self) -> None:
        buffer, ids = RehearsalBuffer(4), torch.arange(4)
        buffer.add({"id": ids})
        ids.zero_()
        assert stored(buffer) == [0, 1, 2, 3]

    def test_an_empty_batch_changes_nothing(self) -> None:
        buffer = RehearsalBuffer(4)
        fill(buffer, 9)
        unchanged(buffer, lambda: buffer.add({name: x[:0] for name, x in buffer.all().items()}))()


class TestSample:
    def test_everything_is_kept_until_the_buffer_is_full(self) -> None:
        buffer = RehearsalBuffer(10)
        fill(buffer, 7, 3)
        assert len(buffer) == buffer.n_seen == 7
        assert stored(buffer) == list(range(7))
        assert sorted(buffer.sample(10)["id"].tolist()) == list(range(7))

    def test_counts(self) -> None:
        buffer = RehearsalBuffer(10)
        feed(buffer, torch.arange(25) % 3, 4)
        assert (len(buffer), buffer.n_seen, buffer.capacity) == (10, 25, 10)
        assert buffer.class_counts() == {c: int((buffer.all()["y"] == c).sum()) for c in range(3)}
        assert sum(buffer.class_counts("task_id").values()) == 10

    def test_it_reads_what_it_draws(self) -> None:
        one, other = RehearsalBuffer(10, seed=3), RehearsalBuffer(10, seed=3)
        for buffer in (one, other):
            fill(buffer, 50)
        assert torch.equal(one.sample(4)["id"], other.read(other.draw(4))["id"])

    def test_more_than_there_is_room_for_is_said_once(self) -> None:
        buffer = RehearsalBuffer(6)
        fill(buffer, 9)
        with pytest.warns(UserWarning, match="8 samples are drawn from a buffer of 6; it returns what there is"):
            assert len(buffer.draw(8).unique()) == 6
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(buffer.draw(700).unique()) == 6

    def test_less_than_wanted_is_no_reason_to_warn(self) -> None:
        buffer = RehearsalBuffer(6)
        fill(buffer, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(buffer.draw(6)) == 2

    def test_an_empty_buffer_of_large_rows_is_restored(self) -> None:
        buffer, restored = RehearsalBuffer(4), RehearsalBuffer(4)
        buffer.add({"x": torch.zeros(0, 4000)})
        restored.load_state_dict(buffer.state_dict())
        assert len(restored) == 0
        assert restored.nbytes == buffer.nbytes

    def test_an_empty_buffer_draws_nothing(self) -> None:
        buffer = RehearsalBuffer(6)
        assert buffer.draw(3).tolist() == []
        assert (len(buffer), buffer.class_counts(), buffer.ages().tolist()) == (0, {}, [])


class TestSeed:
    @pytest.mark.parametrize("policy", sorted(POLICIES.keys() - {"herding", "ring", "greedy_balanced"}))
    def test_it_decides_what_is_kept(self, policy: str) -> None:
        def kept(seed: int) -> list[int]:
            buffer = RehearsalBuffer(8, policy=POLICIES[policy](), seed=seed)
            feed(buffer, torch.arange(100) % 3)
            return stored(buffer)

        assert kept(1) == kept(1) != kept(2)

    @pytest.mark.parametrize("sampler", SAMPLERS)
    def test_it_decides_what_is_drawn(self, sampler: str) -> None:
        def drawn(seed: int) -> list[list[int]]:
            buffer = RehearsalBuffer(100, policy=Ring(), sampler=SAMPLERS[sampler](), seed=seed)
            feed(buffer, torch.arange(90) // 30)
            return [buffer.draw(5, rate=score).tolist() for _ in range(3)]

        assert drawn(1) == drawn(1) != drawn(2)

    @pytest.mark.parametrize("sampler", SAMPLERS)
    @pytest.mark.parametrize("policy", POLICIES)
    def test_the_global_generator_is_untouched(self, policy: str, sampler: str) -> None:
        before = torch.get_rng_state()
        buffer = RehearsalBuffer(8, policy=POLICIES[policy](), sampler=SAMPLERS[sampler]())
        feed(buffer, torch.arange(50) % 4)
        buffer.draw(8, rate=score)
        buffer.draw(1, rate=score)
        buffer.load_state_dict(buffer.state_dict())
        assert torch.equal(torch.get_rng_state(), before)


class TestMove:
    def test_to_where_it_is(self) -> None:
        buffer = RehearsalBuffer(4)
        assert buffer.to("cpu") is buffer
        fill(buffer, 9)
        unchanged(buffer, lambda: buffer.to("cpu"))()

    @pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
    def test_to_a_device_that_is_not_there(self) -> None:
        buffer = RehearsalBuffer(4)
        fill(buffer, 9)
        with pytest.raises(ValueError, match="The tier cuda needs a CUDA device"):
            unchanged(buffer, lambda: buffer.to("cuda"))()

    def test_to_a_tier_and_back(self) -> None:
        buffer = RehearsalBuffer(20, tier="mmap")
        fill(buffer, 12)
        before = stored(buffer)
        for tier in ("host", "mmap"):
            buffer.move(tier, torch.device("cpu"))
            assert buffer.rows.tier == tier
            assert stored(buffer) == before

    def test_to_a_tier_without_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        buffer = RehearsalBuffer(20)
        fill(buffer, 12)
        before = stored(buffer)

        def full(*_: Any, **__: Any) -> Tensor:
            raise StorageError("A buffer does not fit.")

        monkeypatch.setattr(storage, "allocate", full)
        with pytest.warns(UserWarning, match=r"^Rows stay on the tier host: A buffer does not fit\.$"):
            buffer.move("cuda", torch.device("cuda"))
        assert buffer.rows.tier == "host"
        assert stored(buffer) == before


def test_works_with_torch_and_numpy_alone() -> None:
    script = """
import sys
for name in ("gymnasium", "pytorch_lightning", "lightning"):
    sys.modules[name] = None
import torch
from redwood.buffers import POLICIES, SAMPLERS, RehearsalBuffer
x, y = torch.zeros(5000, 8), torch.arange(5000) % 3
for policy in POLICIES.values():
    buffer = RehearsalBuffer(20, policy=policy())
    buffer.add({"x": x[:500], "y": y[:500]}, losses=x[:500, 0], features=x[:500])
    assert buffer.sample(3)["x"].shape == (3, 8)
for sampler in SAMPLERS.values():
    buffer = RehearsalBuffer(2000, sampler=sampler())
    buffer.add({"x": x, "y": y, "task_id": y}, features=x)
    assert buffer.sample(3, rate=lambda samples: samples["x"][:, 0])["x"].shape == (3, 8)
assert not {"redwood.settings", "redwood.methods"} & set(sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_rows_equal_host_rows_and_are_never_waited_for() -> None:
    host, device = RehearsalBuffer(50, seed=4), RehearsalBuffer(50, seed=4)
    batches = torch.randint(0, 256, (20, 32, 3, 8, 8)).to(torch.uint8)
    on_device = batches.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in on_device:
            device.add({"x": batch})
        drawn = device.sample(16)["x"]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for batch in batches:
        host.add({"x": batch})
    assert drawn.is_cuda
    assert torch.equal(drawn.cpu(), host.sample(16)["x"])
    assert device.to("cpu").sample(16)["x"].device.type == "cpu"
