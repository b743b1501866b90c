import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from redwood.buffers import RehearsalBuffer, StorageError, tiers
from redwood.buffers.layout import WORD
from redwood.buffers.tiers import allocate, resolve
from tests.buffers.helpers import feed, unchanged

FAR_TOO_MANY = 2**55  # samples: 2^59 bytes and more, beyond any disk and any memory

LIMITED = """
import resource, signal, sys, torch
from redwood.buffers import RehearsalBuffer, StorageError
buffer = RehearsalBuffer(10, tier="mmap", directory=sys.argv[1])
buffer.add({"x": torch.arange(20)})
before = buffer.all()["x"]
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    RehearsalBuffer(1000, tier="mmap", directory=sys.argv[1]).add({"x": torch.arange(20)})
except StorageError as error:
    assert "16,000 bytes does not fit into" in str(error), error
else:
    raise AssertionError("allocated")
assert torch.equal(buffer.all()["x"], before) and buffer.capacity == 10
buffer.add({"x": torch.arange(20)})
"""


class TestAllocate:
    @pytest.mark.parametrize("tier", ["host", "mmap"])
    def test_words(self, tier: str) -> None:
        words = allocate(10, tier)
        assert (words.shape, words.dtype, words.device.type) == ((10,), WORD, "cpu")
        words.fill_(3)
        assert words.real.tolist() == [3] * 10

    def test_an_unknown_tier(self) -> None:
        with pytest.raises(ValueError, match=r"There is no tier 'tape'; choose one of cuda, pinned, host, mmap"):
            allocate(1, "tape")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
    @pytest.mark.parametrize("tier", ["cuda", "pinned"])
    def test_a_missing_device(self, tier: str) -> None:
        with pytest.raises(ValueError, match=f"The tier {tier} needs a CUDA device, and there is none"):
            allocate(1, tier)

    @pytest.mark.parametrize("tier", ["host", "mmap"])
    def test_more_than_there_is(self, tier: str, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"576,460,752,303,423,488 bytes does not fit into .*make it smaller"):
            allocate(FAR_TOO_MANY, tier, directory=str(tmp_path))
        assert not list(tmp_path.iterdir())

    def test_automatic_choice(self) -> None:
        cpu, gpu = torch.device("cpu"), torch.device("cuda", 1)
        assert resolve("auto", cpu) == ("host", None)
        assert resolve("auto", gpu) == ("cuda", gpu)
        assert resolve("cuda", gpu) == ("cuda", gpu)
        assert resolve("cuda", cpu) == ("cuda", None)
        assert resolve("mmap", gpu) == ("mmap", None)


class TestMappedFile:
    def test_it_leaves_no_file_but_takes_its_space(self, tmp_path: Path) -> None:
        words = allocate(2**16, "mmap", directory=str(tmp_path))
        assert not list(tmp_path.iterdir())
        mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line]
        assert len(mapped) == 1
        assert mapped[0].endswith("(deleted)")
        words.zero_()
        del words
        assert str(tmp_path) not in Path("/proc/self/maps").read_text()

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="files without a name are opened through /proc")
    def test_a_process_killed_while_space_is_reserved_leaves_no_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[list[str]] = []
        reserve = tiers.reserve

        def look(handle: int, n_bytes: int) -> None:
            seen.append(os.listdir(tmp_path))
            reserve(handle, n_bytes)

        monkeypatch.setattr(tiers, "reserve", look)
        allocate(10, "mmap", directory=str(tmp_path)).fill_(3)
        assert seen == [[]]

    def test_no_such_folder(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"No file can be made in .*No such file.*choose another folder"):
            allocate(1, "mmap", directory=str(tmp_path / "missing"))

    def test_a_disk_that_fills_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(
            StorageError, match=r"160 bytes does not fit into .*No space left on device; make it smaller"
        ):
            allocate(10, "mmap", directory=str(tmp_path))
        assert not list(tmp_path.iterdir())

    def test_no_room_in_the_address_space(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def unmappable(*_: object, **__: object) -> None:
            raise RuntimeError("unable to mmap 160 bytes: Cannot allocate memory (12)")

        monkeypatch.setattr(torch, "from_file", unmappable)
        with pytest.raises(StorageError, match=r"160 bytes does not fit into .*cannot be mapped"):
            allocate(10, "mmap", directory=str(tmp_path))
        assert not list(tmp_path.iterdir())

    def test_a_limit_on_files(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", LIMITED, str(tmp_path)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tier", ["host", "mmap"])
class TestBufferThatDoesNotFit:
    def test_at_first(self, tier: str, tmp_path: Path) -> None:
        buffer = RehearsalBuffer(FAR_TOO_MANY, tier=tier, directory=str(tmp_path))
        with pytest.raises(StorageError, match=r"does not fit"):
            unchanged(buffer, lambda: feed(buffer, torch.arange(4)))()

    def test_by_bytes(self, tier: str, tmp_path: Path) -> None:
        buffer = RehearsalBuffer(n_bytes=2**58, tier=tier, directory=str(tmp_path))
        with pytest.raises(StorageError, match=r"does not fit"):
            unchanged(buffer, lambda: feed(buffer, torch.arange(4)))()
        assert buffer.capacity == 0


class Cudart:
    """The CUDA runtime of a machine without a GPU: notes what is pinned."""

    def __init__(self, code: int = 0) -> None:
        self.code, self.pinned = code, dict[int, int]()

    def cudaHostRegister(self, address: int, n_bytes: int, flags: int) -> int:
        if not self.code:
            self.pinned[address] = n_bytes
        return self.code

    def cudaHostUnregister(self, address: int) -> int:
        del self.pinned[address]
        return 0


class TestPinned:
    @pytest.fixture
    def cudart(self, monkeypatch: pytest.MonkeyPatch) -> Cudart:
        cudart = Cudart()
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "cudart", lambda: cudart)
        return cudart

    def test_its_size_is_not_rounded_up(self, cudart: Cudart) -> None:
        words = allocate(2**16 + 1, "pinned")
        assert words.shape == (2**16 + 1,)
        assert cudart.pinned == {words.data_ptr(): 16 * (2**16 + 1)}
        words.fill_(2)
        assert words.real.sum() == 2 * (2**16 + 1)

    def test_it_is_pinned_as_long_as_a_view_is_used(self, cudart: Cudart) -> None:
        words = allocate(10, "pinned")
        part = words[2:4].fill_(1)
        del words
        assert len(cudart.pinned) == 1
        assert part.real.tolist() == [1, 1]
        del part
        assert not cudart.pinned

    def test_a_refusal(self, cudart: Cudart) -> None:
        cudart.code = 2
        with pytest.raises(StorageError, match="160 bytes does not fit into the tier pinned; make it smaller"):
            allocate(10, "pinned")
        assert not cudart.pinned

    def test_no_rows(self, cudart: Cudart) -> None:
        assert allocate(0, "pinned").shape == (0,)
