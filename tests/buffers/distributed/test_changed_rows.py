"""A checkpoint writes the rows that have changed, links the files of the others, and holds what a full one would."""

import errno
import os
import shutil
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from redwood.buffers import POLICIES, RehearsalBuffer, StorageError
from redwood.buffers.distributed import checkpoint as shards
from redwood.buffers.distributed.changed_rows import MAX_LINKS, SavedRows, link_unchanged
from redwood.buffers.distributed.checkpoint import read_checkpoint, take_snapshot, write_checkpoint
from redwood.buffers.distributed.checkpoint_files import CheckpointReader
from tests.buffers.distributed.reshard_helpers import ids_of, is_intact, offer, share_stream
from tests.buffers.helpers import equal, score, shuffled, unchanged
from tests.workers import GlooWorkers

CAPACITY = 60
LABELS = shuffled([0] * 60 + [1] * 60 + [2] * 40 + [3] * 40)


def new(policy: str = "reservoir", sampler: str = "uniform", capacity: int = CAPACITY) -> RehearsalBuffer:
    return RehearsalBuffer(capacity, policy=policy, sampler=sampler, seed=3)


def full(policy: str = "reservoir", sampler: str = "uniform") -> RehearsalBuffer:
    buffer = new(policy, sampler)
    share_stream([buffer], LABELS)
    return buffer


class Saves:
    """Saves a buffer again and again, in folders of their own."""

    def __init__(self, buffer: RehearsalBuffer, folder: Path) -> None:
        self.buffer, self._folder = buffer, folder
        self.saved: SavedRows | None = None
        self.latest = folder
        self._n = 0

    def save(self) -> Path:
        """The folder of the next checkpoint."""
        self._n += 1
        saved, self.saved, self.latest = self.saved, None, self._folder / f"save_{self._n}"
        changed = link_unchanged(self.buffer, saved, self.latest)
        self.saved = write_checkpoint(take_snapshot(self.buffer, {}, changed), self.latest, 0, 1, None)
        return self.latest

    def bytes_written(self) -> int:
        """Bytes of the files of the latest checkpoint that no other one has."""
        return sum(file.stat().st_size for file in self.latest.iterdir() if file.stat().st_nlink == 1)


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def add(buffer: RehearsalBuffer, n: int, start: int = 0) -> None:
    """Add the next samples of the stream, which are numbered from `start`."""
    places = torch.arange(buffer.n_seen, buffer.n_seen + n)
    offer(buffer, start + places, LABELS[places % len(LABELS)])


def replace_rows(buffer: RehearsalBuffer, n: int, start: int = 0) -> None:
    """Add samples until so many rows have changed."""
    first = buffer.n_seen
    while len(buffer.slots_since(first)) < n:
        add(buffer, 1, start)


def is_of(folder: Path, buffer: RehearsalBuffer) -> bool:
    """Whether a checkpoint restores what a buffer holds."""
    restored = RehearsalBuffer(buffer.capacity, policy=type(buffer.policy)(), sampler=type(buffer.sampler)(), seed=9)
    read_checkpoint(folder, restored, 0, 1)
    return equal(restored.state_dict(), buffer.state_dict()) and is_intact(restored)


class TestContent:
    @pytest.mark.parametrize("policy", sorted(POLICIES))
    @pytest.mark.few(2)
    def test_is_that_of_the_buffer(self, policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """While it fills, and once it is full; rows lie in chunks of a few."""
        buffer = new(policy)
        saves = Saves(buffer, tmp_path)
        random = torch.Generator().manual_seed(5)
        n_linked = 0
        for turn in range(14):
            add(buffer, int(torch.randint(1, 30, (), generator=random)))
            if turn == 0:
                monkeypatch.setattr(shards, "CHUNK", 7 * buffer.rows.layout.stride)
            buffer.draw(4, rate=score)
            assert is_of(saves.save(), buffer)
            n_linked += len(files(saves.latest)) > 2
        assert n_linked >= 4

    def test_rows_changed_while_it_is_written(self, tmp_path: Path) -> None:
        buffer = full()
        saves = Saves(buffer, tmp_path)
        saves.save()
        replace_rows(buffer, 3)
        changed = link_unchanged(buffer, saves.saved, tmp_path / "next")
        before, snapshot = buffer.state_dict(), take_snapshot(buffer, {}, changed)
        replace_rows(buffer, 5)
        saves.saved = write_checkpoint(snapshot, tmp_path / "next", 0, 1, None)
        restored = new()
        read_checkpoint(tmp_path / "next", restored, 0, 1)
        assert equal(restored.state_dict(), before)
        assert is_of(saves.save(), buffer)

    def test_a_chain_goes_on_when_rows_move(self, tmp_path: Path) -> None:
        buffer = full()
        saves = Saves(buffer, tmp_path)
        saves.save()
        buffer.to("cpu")
        replace_rows(buffer, 2)
        assert is_of(saves.save(), buffer)

    @pytest.mark.parametrize("world", [2, 3])
    def test_other_numbers_of_workers(self, world: int, tmp_path: Path) -> None:
        buffer = full("class_balanced", "class_balanced")
        saves, anew = Saves(buffer, tmp_path), Saves(buffer, tmp_path / "anew")
        saves.save()
        for n in (3, 4):
            replace_rows(buffer, n)
            saves.save()
        assert len(files(saves.latest)) == 4
        anew.save()
        parts = []
        for rank in range(world):
            found, wanted = (new("class_balanced", "class_balanced", CAPACITY // world) for _ in range(2))
            read_checkpoint(saves.latest, found, rank, world)
            read_checkpoint(anew.latest, wanted, rank, world)
            assert equal(found.state_dict(), wanted.state_dict())
            parts.append(found)
        assert ids_of(parts) == ids_of([buffer])


class TestBytes:
    def test_are_those_of_the_rows_that_changed(self, tmp_path: Path) -> None:
        buffer = RehearsalBuffer(100, seed=0)
        buffer.add({"x": torch.rand(1000, 1000)})
        saves = Saves(buffer, tmp_path)
        saves.save()
        assert saves.bytes_written() > 100 * 4000
        replaced = buffer.n_seen
        buffer.add({"x": torch.rand(50, 1000)})
        n = len(buffer.slots_since(replaced))
        assert 0 < n < 20
        snapshot = take_snapshot(buffer, {}, link_unchanged(buffer, saves.saved, tmp_path / "looked_at"))
        assert len(snapshot.words) == n  # also while training waits
        shutil.rmtree(tmp_path / "looked_at")
        saves.save()
        assert n * 4000 < saves.bytes_written() < n * 4000 + 8000

    def test_nothing_has_changed(self, tmp_path: Path) -> None:
        buffer = full()
        saves = Saves(buffer, tmp_path)
        saves.save()
        for _ in range(2 * MAX_LINKS):  # no file is linked that holds no row
            saves.save()
            assert files(saves.latest) == ["index.json", "shard_0.1.bin", "shard_0.bin"]
            assert is_of(saves.latest, buffer)


class TestAnew:
    """All rows are written, to one file."""

    def check(self, saves: Saves) -> None:
        assert files(saves.save()) == ["index.json", "shard_0.bin"]
        assert saves.bytes_written() == sum(file.stat().st_size for file in saves.latest.iterdir())
        assert is_of(saves.latest, saves.buffer)

    @pytest.mark.parametrize("n", [30, 31])
    def test_once_half_of_the_rows_would_lie_in_increments(self, n: int, tmp_path: Path) -> None:
        saves = Saves(full(), tmp_path)
        saves.save()
        replace_rows(saves.buffer, 20)
        assert len(files(saves.save())) == 3
        replace_rows(saves.buffer, n - 20)
        if n > CAPACITY / 2:
            self.check(saves)
        else:
            assert len(files(saves.save())) == 4

    def test_once_there_are_many_files(self, tmp_path: Path) -> None:
        saves = Saves(full(), tmp_path)
        saves.save()
        for n in range(MAX_LINKS):
            replace_rows(saves.buffer, 1)
            assert len(files(saves.save())) == n + 3
        replace_rows(saves.buffer, 1)
        self.check(saves)
        replace_rows(saves.buffer, 1)
        assert len(files(saves.save())) == 3

    @pytest.mark.parametrize("allowed", [0, 1])
    def test_where_links_are_refused(self, allowed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        saves = Saves(full(), tmp_path)
        saves.save()
        replace_rows(saves.buffer, 2)
        saves.save()
        replace_rows(saves.buffer, 2)
        link, calls = os.link, []

        def refuse(*places: Any) -> None:
            calls.append(places)
            if len(calls) > allowed:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            link(*places)

        monkeypatch.setattr(os, "link", refuse)
        self.check(saves)
        assert len(calls) == allowed + 1

    def test_once_the_checkpoint_before_is_gone(self, tmp_path: Path) -> None:
        saves = Saves(full(), tmp_path)
        shutil.rmtree(saves.save())
        replace_rows(saves.buffer, 2)
        self.check(saves)

    @pytest.mark.parametrize("way", ["restored", "emptied", "another"])
    def test_once_the_buffer_holds_other_rows(self, way: str, tmp_path: Path) -> None:
        saves = Saves(full(), tmp_path)
        first = saves.save()
        replace_rows(saves.buffer, 2)
        if way == "restored":
            read_checkpoint(first, saves.buffer, 0, 1)
        elif way == "emptied":
            saves.buffer = new()
            assert link_unchanged(saves.buffer, saves.saved, tmp_path / "other").slots is None
            add(saves.buffer, 2)
        else:
            saves.buffer = full("ring")
        self.check(saves)

    def test_after_a_save_that_failed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        saves = Saves(full(), tmp_path)
        before = saves.save()
        state = saves.buffer.state_dict()
        replace_rows(saves.buffer, 2)

        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(StorageError, match="cannot be written to"):
                saves.save()
        restored = new()
        read_checkpoint(before, restored, 0, 1)
        assert equal(restored.state_dict(), state)
        self.check(saves)


def increments(folder: Path) -> Saves:
    """A checkpoint of three files."""
    saves = Saves(full(), folder)
    saves.save()
    for n in (3, 2):
        replace_rows(saves.buffer, n)
        saves.save()
    return saves


class TestFiles:
    def test_earlier_checkpoints_are_removed(self, tmp_path: Path) -> None:
        saves = increments(tmp_path)
        for number in (1, 2):
            shutil.rmtree(tmp_path / f"save_{number}")
        assert is_of(saves.latest, saves.buffer)
        shutil.copytree(saves.latest, tmp_path / "copy")
        shutil.rmtree(saves.latest)
        assert is_of(tmp_path / "copy", saves.buffer)

    @pytest.mark.parametrize("file", ["shard_0.bin", "shard_0.1.bin", "shard_0.2.bin"])
    @pytest.mark.parametrize("world", [1, 2])
    @pytest.mark.parametrize("damage", ["missing", "cut", "a bit", "of another checkpoint"])
    def test_damage(self, damage: str, world: int, file: str, tmp_path: Path) -> None:
        path = increments(tmp_path).latest / file
        data = path.read_bytes()
        path.unlink()
        if damage == "cut":
            path.write_bytes(data[:40])
        elif damage == "a bit":
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        elif damage == "of another checkpoint":
            other = increments(tmp_path / "other").latest
            (path.parent / file).write_bytes((other / file).read_bytes()[::-1])
        buffer = new(capacity=CAPACITY // world)
        with pytest.raises(
            ValueError, match=r"^The buffers in .* are damaged \(.*\); resume from another checkpoint\.$"
        ):
            unchanged(buffer, lambda: read_checkpoint(path.parent, buffer, 0, world))()

    def test_a_linked_file_that_is_gone_is_told_when_it_is_saved(self, tmp_path: Path) -> None:
        saves = increments(tmp_path)
        changed = link_unchanged(saves.buffer, saves.saved, tmp_path / "next")
        snapshot = take_snapshot(saves.buffer, {}, changed)
        (tmp_path / "next" / "shard_0.bin").unlink()
        with pytest.raises(StorageError, match=r"cannot be written to .*shard_0\.bin"):
            write_checkpoint(snapshot, tmp_path / "next", 0, 1, None)
        assert not (tmp_path / "next" / "index.json").exists()


def mine(world: int, rank: int) -> RehearsalBuffer:
    return RehearsalBuffer(CAPACITY // world, policy="class_balanced", sampler="class_balanced", seed=7 + rank)


def save_thrice(folder: Path) -> list[list[int]]:
    """What this worker stores at each of three saves."""
    rank, world = dist.get_rank(), dist.get_world_size()
    buffer = mine(world, rank)
    share_stream([buffer], LABELS, start=1000 * rank)
    saved, stored = None, []
    for number in range(3):
        changed = link_unchanged(buffer, saved, folder / str(number))
        assert (changed.slots is None) == (number == 0)
        snapshot = take_snapshot(buffer, {}, changed)
        saved = write_checkpoint(snapshot, folder / str(number), rank, world, dist.group.WORLD)
        stored.append(ids_of([buffer]))
        replace_rows(buffer, 2 + rank, start=1000 * rank)  # not as many rows on each worker
    return stored


def load_part(folder: Path) -> tuple[list[int], bool, int]:
    """What this worker gets, whether all of it is intact, and how many rows it has read."""
    rank, world, read = dist.get_rank(), dist.get_world_size(), CheckpointReader.read
    buffer, n_read = mine(world, rank), []

    def counting(self: CheckpointReader, name: str, out: Any = None) -> Any:
        tensor = read(self, name, out)
        n_read.append(len(tensor) if "/rows/" in name else 0)
        return tensor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointReader, "read", counting)
        read_checkpoint(folder, buffer, rank, world, dist.group.WORLD)
    return ids_of([buffer]), is_intact(buffer), sum(n_read)


class TestSeveralWorkers:
    def test_each_links_its_own_files(self, tmp_path: Path, gloo_workers: GlooWorkers) -> None:
        stored = gloo_workers.run(2, save_thrice, tmp_path)
        last = tmp_path / "2"
        assert len(files(last)) == 1 + 2 * 3
        for number in (0, 1):
            shutil.rmtree(tmp_path / str(number))
        for world in (2, 3):
            found = gloo_workers.run(world, load_part, last)
            assert all(whole for _, whole, _ in found)
            parts = [ids for ids, _, _ in found]
            if world == 2:
                assert parts == [of_worker[2] for of_worker in stored]
            assert sorted(chain(*parts)) == sorted(chain(*(of_worker[2] for of_worker in stored)))
            rows = CheckpointReader(last).shapes
            assert sum(n for _, _, n in found) == sum(shape[0] for name, shape in rows.items() if "/rows/" in name)
