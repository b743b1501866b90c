"""Saved buffers come back bit for bit on as many workers, whole on others, and not at all if they are incomplete."""

import os
import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from redwood.buffers import POLICIES, SAMPLERS, RehearsalBuffer, StorageError
from redwood.buffers.distributed import checkpoint as shards
from redwood.buffers.distributed import checkpoint_files as checkpoint_files
from redwood.buffers.distributed import row_dealing
from redwood.buffers.distributed.checkpoint import is_complete, read_checkpoint, take_snapshot, write_checkpoint
from redwood.buffers.distributed.checkpoint_files import CheckpointReader
from redwood.core.state import State
from tests.buffers.distributed.reshard_helpers import filled, ids_of, is_intact, offer, share_stream
from tests.buffers.distributed.shard_bits import flipped, flips
from tests.buffers.helpers import equal, losses_of, score, shuffled, unchanged
from tests.workers import GlooWorkers

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")

LABELS = shuffled([0] * 30 + [1] * 30 + [2] * 20 + [3] * 10)
TOTAL = 24


def make(world: int, rank: int, policy: str = "class_balanced", sampler: str = "old_tasks") -> RehearsalBuffer:
    return RehearsalBuffer(TOTAL // world, policy=policy, sampler=sampler, seed=7 + rank)


def saved(buffer: RehearsalBuffer, directory: Path) -> Path:
    """Save one worker's buffer."""
    write_checkpoint(take_snapshot(buffer, {"step": 3}), directory, 0, 1, None)
    return directory


def full(policy: str = "class_balanced", sampler: str = "old_tasks") -> RehearsalBuffer:
    buffer = make(1, 0, policy, sampler)
    share_stream([buffer], LABELS)
    return buffer


def restore(buffer: RehearsalBuffer) -> list[list[int]]:
    draws = []
    for first in range(1000, 1040, 8):
        offer(buffer, torch.arange(first, first + 8), LABELS[first - 1000 : first - 992])
        slots = buffer.draw(4, rate=score)
        buffer.on_replayed(slots, losses_of(slots))
        draws.append(buffer.read(slots)["id"].tolist())
    return draws


class TestOneWorker:
    @pytest.mark.parametrize(
        ("policy", "sampler"),
        [*((policy, "uniform") for policy in POLICIES), *(("ring", sampler) for sampler in SAMPLERS)],
    )
    def test_goes_on_as_if_uninterrupted(self, policy: str, sampler: str, tmp_path: Path) -> None:
        original, restored = full(policy, sampler), RehearsalBuffer(TOTAL, policy=policy, sampler=sampler, seed=99)
        original.draw(3, rate=score)
        assert read_checkpoint(saved(original, tmp_path), restored, 0, 1) == {"step": 3}
        assert equal(restored.bookkeeping(), original.bookkeeping())
        assert is_intact(restored)
        assert restore(restored) == restore(original)
        assert equal(restored.state_dict(), original.state_dict())
        assert isinstance(restored.all()["pair"], tuple)  # as the samples are that came since

    @pytest.mark.parametrize(
        "tier", ["host", "mmap", pytest.param("pinned", marks=needs_cuda), pytest.param("cuda", marks=needs_cuda)]
    )
    def test_tiers(self, tier: str, tmp_path: Path) -> None:
        def buffer() -> RehearsalBuffer:
            return RehearsalBuffer(TOTAL, tier=tier, directory=str(tmp_path))

        original, restored = buffer(), buffer()
        share_stream([original], LABELS)
        read_checkpoint(saved(original, tmp_path / "saved"), restored, 0, 1)
        assert equal(restored.state_dict(), original.state_dict())
        assert restored.rows.tier == tier

    def test_rows_in_several_chunks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shards, "CHUNK", 5 * 64 + 1)
        original, restored, one_of_two = full(), make(1, 0), make(2, 0)
        saved(original, tmp_path)
        read_checkpoint(tmp_path, restored, 0, 1)
        assert equal(restored.state_dict(), original.state_dict())
        read_checkpoint(tmp_path, one_of_two, 0, 2)
        assert equal(one_of_two.state_dict(), filled([take_snapshot(original, {})], make(2, 0), 0, 2).state_dict())

    @pytest.mark.parametrize("n", [0, 1, 7])
    def test_a_buffer_that_is_not_full(self, n: int, tmp_path: Path) -> None:
        original, restored = make(1, 0), make(1, 5)
        share_stream([original], LABELS[:n])
        read_checkpoint(saved(original, tmp_path), restored, 0, 1)
        assert equal(restored.state_dict(), original.state_dict())
        halves = [make(2, rank) for rank in range(2)]
        for rank, half in enumerate(halves):
            read_checkpoint(tmp_path, half, rank, 2)
        assert ids_of(halves) == list(range(n))

    def test_rows_without_a_sample(self, tmp_path: Path) -> None:
        original, restored = make(1, 0), make(1, 0)
        offer(original, torch.arange(0), LABELS[:0])
        read_checkpoint(saved(original, tmp_path), restored, 0, 1)
        assert restored.has_rows
        assert restore(restored) == restore(original)

    def test_extra(self, tmp_path: Path) -> None:
        buffer, extra = full(), {"step": 5, "drawn": torch.arange(6).view(2, 3).half(), "names": ["a", None]}
        snapshot = take_snapshot(buffer, extra)
        extra["drawn"].zero_()
        write_checkpoint(snapshot, tmp_path, 0, 1, None)
        found = read_checkpoint(tmp_path, make(1, 0), 0, 1)
        assert equal(found, extra | {"drawn": torch.arange(6).view(2, 3).half()})

    def test_is_a_copy(self, tmp_path: Path) -> None:
        buffer, restored = full(), make(1, 0)
        before, snapshot = buffer.state_dict(), take_snapshot(buffer, {})
        restore(buffer)
        write_checkpoint(snapshot, tmp_path, 0, 1, None)
        read_checkpoint(tmp_path, restored, 0, 1)
        assert equal(restored.state_dict(), before)
        assert not equal(buffer.state_dict(), before)

    def test_no_warnings(self, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
        for _ in range(2):  # the second time in place of the first
            read_checkpoint(saved(full(), tmp_path), make(1, 0), 0, 1)
        assert not recwarn.list


def save_mine(directory: Path, policy: str, sampler: str, n: int) -> bool:
    """Save what this worker has of a stream of `n` samples; returns whether the folder is complete then."""
    rank, world = dist.get_rank(), dist.get_world_size()
    buffers = [make(world, r, policy, sampler) for r in range(world)]
    share_stream(buffers, LABELS[:n])
    write_checkpoint(take_snapshot(buffers[rank], {"world": world}), directory, rank, world, dist.group.WORLD)
    return is_complete(directory)


def load_together(directory: Path, policy: str, sampler: str) -> tuple[State, list[int]]:
    """The state of this worker's buffer, each row having been read by one worker, and the rows that this one read."""
    rank, world = dist.get_rank(), dist.get_world_size()
    buffer, read = make(world, rank, policy, sampler), CheckpointReader.read
    n_read: list[int] = []

    def counting(self: CheckpointReader, name: str, out: Tensor | None = None) -> Tensor:
        tensor = read(self, name, out)
        n_read.extend([len(tensor)] * ("/rows/" in name))
        return tensor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointReader, "read", counting)
        read_checkpoint(directory, buffer, rank, world, dist.group.WORLD)
    return buffer.state_dict(), n_read


def load_damaged(directory: Path, *policies: str) -> str:
    """The error of loading together, with these policies of all workers."""
    rank, world = dist.get_rank(), dist.get_world_size()
    buffer = make(world, rank, *policies[rank : rank + 1])
    try:
        read_checkpoint(directory, buffer, rank, world, dist.group.WORLD)
    except ValueError as error:
        return str(error)
    return ""


def load_without_memory(directory: Path) -> str:
    """The error of loading together, where the second worker finds no room for the rows that it receives."""
    rank, world = dist.get_rank(), dist.get_world_size()
    empty = torch.empty

    def too_large(*shape: int, **options: Any) -> Tensor:
        if len(shape) == 2 and rank == 1:
            raise MemoryError(f"no room on worker {rank}")
        return empty(*shape, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_dealing.torch, "empty", too_large)
        try:
            read_checkpoint(directory, make(world, rank), rank, world, dist.group.WORLD)
        except (MemoryError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
    return ""


def save_where_no_folder_is(directory: Path) -> str:
    rank = dist.get_rank()
    try:
        write_checkpoint(take_snapshot(make(2, rank), {}), directory / f"file_{rank}" / "x", rank, 2, dist.group.WORLD)
    except StorageError as error:
        return str(error)
    return ""


class TestSeveralWorkers:
    @pytest.mark.parametrize(
        ("world", "policy", "sampler"),
        [(2, "reservoir", "class_balanced"), (4, "class_balanced", "old_tasks"), (2, "herding", "grasp")],
    )
    @pytest.mark.few(1)
    def test_each_gets_its_own_back_and_others_their_share(
        self, world: int, policy: str, sampler: str, tmp_path: Path, gloo_workers: GlooWorkers
    ) -> None:
        assert gloo_workers.run(world, save_mine, tmp_path, policy, sampler, 90) == [True] * world
        assert len(list(tmp_path.glob("shard_*.bin"))) == world  # each has written its own rows
        originals = [make(world, rank, policy, sampler) for rank in range(world)]
        share_stream(originals, LABELS)
        for rank, original in enumerate(originals):
            restored = make(world, 9, policy, sampler)
            assert read_checkpoint(tmp_path, restored, rank, world) == {"world": world}
            assert equal(restored.state_dict(), original.state_dict())
        snapshots = [take_snapshot(buffer, {}) for buffer in originals]
        for n in {1, 2, 3, 4} - {world}:
            moved = [make(n, rank, policy, sampler) for rank in range(n)]
            for rank, buffer in enumerate(moved):
                assert read_checkpoint(tmp_path, buffer, rank, n) == {"world": world}
                in_memory = filled(snapshots, make(n, rank, policy, sampler), rank, n)
                assert equal(buffer.state_dict(), in_memory.state_dict())
                assert is_intact(buffer)
            assert ids_of(moved) == ids_of(originals)

    def test_workers_that_store_nothing(self, tmp_path: Path, gloo_workers: GlooWorkers) -> None:
        gloo_workers.run(2, save_mine, tmp_path, "class_balanced", "old_tasks", 4)  # all for the first worker
        restored = make(2, 1)
        read_checkpoint(tmp_path, restored, 1, 2)
        assert not restored.has_rows
        one = make(1, 0)
        read_checkpoint(tmp_path, one, 0, 1)
        assert ids_of([one]) == [0, 1, 2, 3]

    @pytest.mark.parametrize(
        ("policy", "sampler"), [("reservoir", "class_balanced"), ("class_balanced", "old_tasks"), ("ring", "uniform")]
    )
    @pytest.mark.parametrize("world", [2, 3])
    def test_together_they_read_each_row_once(
        self,
        world: int,
        policy: str,
        sampler: str,
        tmp_path: Path,
        gloo_workers: GlooWorkers,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """And each gets what it would have read alone; chunks are of a few rows, the last ones of fewer."""
        originals = [make(4, rank, policy, sampler) for rank in range(4)]
        share_stream(originals, LABELS)
        monkeypatch.setattr(shards, "CHUNK", 3 * originals[0].rows.layout.stride)
        together: dict[str, Tensor] = {}
        for rank, buffer in enumerate(originals):
            together |= shards._tensors_of(take_snapshot(buffer, {"world": 4}), rank)
        checkpoint_files.write(together, tmp_path, 0, None)
        found = gloo_workers.run(world, load_together, tmp_path, policy, sampler)
        n_read = [sum(rows) for _, rows in found]
        assert sum(n_read) == sum(map(len, originals))
        assert max(n_read) - min(n_read) <= 2 * 3
        for rank, (state, _) in enumerate(found):
            alone = make(world, rank, policy, sampler)
            read_checkpoint(tmp_path, alone, rank, world)
            assert equal(state, alone.state_dict())

    def test_a_damaged_row_ends_all_of_them(self, tmp_path: Path, gloo_workers: GlooWorkers) -> None:
        """Only one of the workers reads it."""
        saved(full(), tmp_path)
        file = tmp_path / "shard_0.bin"
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        errors = gloo_workers.run(2, load_damaged, tmp_path)
        assert all("damaged (the checksum of shard_0/rows/0 is wrong)" in error for error in errors)

    def test_one_of_another_policy_ends_all(self, tmp_path: Path, gloo_workers: GlooWorkers) -> None:
        gloo_workers.run(2, save_mine, tmp_path, "class_balanced", "old_tasks", 90)
        errors = gloo_workers.run(2, load_damaged, tmp_path, "class_balanced", "ring")
        assert errors[0] == errors[1]
        assert "policy" in errors[0]

    def test_all_hear_of_one_without_memory(self, tmp_path: Path, gloo_workers: GlooWorkers) -> None:
        errors = gloo_workers.run(2, load_without_memory, saved(full(), tmp_path))
        assert errors == ["BufferInputError: no room on worker 1", "MemoryError: no room on worker 1"]

    def test_fewer_workers_write_over_what_more_have_saved(self, tmp_path: Path, gloo_workers: GlooWorkers) -> None:
        gloo_workers.run(2, save_mine, tmp_path, "class_balanced", "old_tasks", 90)
        restored = make(1, 0)
        read_checkpoint(saved(full(), tmp_path), restored, 0, 1)
        assert equal(restored.state_dict(), full().state_dict())
        assert [file.name for file in tmp_path.glob("shard_*.bin")] == ["shard_0.bin"]

    def test_all_hear_of_one_that_cannot_write(self, tmp_path: Path, gloo_workers: GlooWorkers) -> None:
        (tmp_path / "file_1").touch()  # in place of a folder, on the second worker
        messages = gloo_workers.run(2, save_where_no_folder_is, tmp_path)
        assert all("cannot be written to" in message and "make room there" in message for message in messages)


class Payload:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self._trace,)


def torch_saved(value: Any) -> bytes:
    file = BytesIO()
    torch.save(value, file)
    return file.getvalue()


class TestRefused:
    def test_where_nothing_is(self, tmp_path: Path) -> None:
        assert not is_complete(tmp_path / "none")
        with pytest.raises(ValueError, match=r"none were not saved completely; resume from another checkpoint\.$"):
            read_checkpoint(tmp_path / "none", make(1, 0), 0, 1)

    def test_a_save_that_was_cut_short(self, tmp_path: Path) -> None:
        saved(full(), tmp_path)
        assert is_complete(tmp_path)
        (tmp_path / "index.json").rename(tmp_path / "index.json.pending")  # rows are there, but the index is not
        assert not is_complete(tmp_path)
        with pytest.raises(ValueError, match="were not saved completely"):
            read_checkpoint(tmp_path, make(1, 0), 0, 1)

    def test_an_old_save_does_not_make_up_for_a_new_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        snapshot = take_snapshot(full(), {})
        write_checkpoint(snapshot, tmp_path, 0, 1, None)

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match=r"cannot be written to .* \(OSError: .*No space left on device\); make"):
            write_checkpoint(snapshot, tmp_path, 0, 1, None)
        assert not is_complete(tmp_path)

    @pytest.mark.parametrize("world", [1, 2])
    @pytest.mark.parametrize("damage", ["index", "no rows", "cut rows", "zeros"])
    def test_damage(self, damage: str, world: int, tmp_path: Path) -> None:
        saved(full(), tmp_path)
        rows = tmp_path / "shard_0.bin"
        if damage == "index":
            (tmp_path / "index.json").write_bytes(b"no pickle")
        elif damage == "no rows":
            rows.unlink()
        elif damage == "cut rows":
            rows.write_bytes(rows.read_bytes()[:1500])
        else:
            rows.write_bytes(bytes(rows.stat().st_size))
        buffer = make(world, 0)
        with pytest.raises(
            ValueError, match=r"The buffers in .* are damaged \(.*\); resume from another checkpoint\.$"
        ):
            unchanged(buffer, lambda: read_checkpoint(tmp_path, buffer, 0, world))()

    @pytest.mark.parametrize(("n", "seed"), [(60, 0), pytest.param(1000, 1, marks=pytest.mark.slow)])
    def test_a_flipped_bit(self, n: int, seed: int, tmp_path: Path) -> None:
        saved(full(), tmp_path)
        assert sorted(file.name for file in tmp_path.iterdir()) == ["index.json", "shard_0.bin"]
        for file, bit in flips(tmp_path, n, seed):
            whole = file.read_bytes()
            file.write_bytes(flipped(whole, bit))
            buffer = make(1, 0)
            with pytest.raises(
                ValueError, match=r"The buffers in .* are damaged \(.*\); resume from another checkpoint"
            ):
                read_checkpoint(tmp_path, buffer, 0, 1)
            assert not buffer.has_rows
            file.write_bytes(whole)
        read_checkpoint(tmp_path, make(1, 0), 0, 1)

    @pytest.mark.parametrize("name", ["index.json", "shard_0.bin", ".metadata"])
    def test_code_in_a_file_is_not_run(self, name: str, tmp_path: Path) -> None:
        folder, trace = tmp_path / "saved", tmp_path / "trace"
        saved(full(), folder)
        for payload in (pickle.dumps(Payload(trace)), torch_saved(Payload(trace))):
            (folder / name).write_bytes(payload)
            if name == ".metadata":
                (folder / "index.json").unlink(missing_ok=True)
            with pytest.raises(ValueError, match=r"are damaged|by an earlier version of redwood"):
                read_checkpoint(folder, make(1, 0), 0, 1)
        assert not trace.exists()
        torch.load(BytesIO(payload), weights_only=False)  # it would have been
        assert trace.exists()

    def test_a_state_with_a_right_checksum_that_is_no_state(self, tmp_path: Path) -> None:
        for text in ("[1", '{"tensor": 7}', '{"dict": [[1]]}', '{"code": 1}', '{"dict": [[[], 1]]}', "[" * 10**5):
            data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
            checkpoint_files.write({"shard_0/state": data} | checkpoint_files.packed("extra", {}), tmp_path, 0, None)
            with pytest.raises(ValueError, match=r"are damaged \(.*\); resume from another checkpoint\.$"):
                read_checkpoint(tmp_path, make(1, 0), 0, 1)

    @pytest.mark.parametrize("world", [1, 2])
    def test_another_policy_or_capacity(self, world: int, tmp_path: Path) -> None:
        saved(full(), tmp_path)
        with pytest.raises(ValueError, match="has the policy ClassBalancedReservoir and this one Ring; make it with"):
            read_checkpoint(tmp_path, make(world, 0, "ring"), 0, world)
        if world == 1:
            other = RehearsalBuffer(TOTAL + 1, policy="class_balanced", sampler="old_tasks")
            with pytest.raises(ValueError, match="make it with capacity=24"):
                read_checkpoint(tmp_path, other, 0, 1)
