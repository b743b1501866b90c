import pytest
import torch

from redwood.core.errors import RedwoodError, StorageError
from redwood.engine.checkpoints import read_checkpoint, write_checkpoint
from tests.core.test_files import file_size_limit


@pytest.fixture
def path(tmp_path):
    torch.save({"weights": torch.arange(1000.0), "step": 3}, tmp_path / "some.pt")
    return tmp_path / "some.pt"


def test_whole(path):
    content = read_checkpoint(path, "start anew")
    assert content["step"] == 3 and torch.equal(content["weights"], torch.arange(1000.0))


def test_every_flipped_bit_of_the_weights_is_noticed(path):
    """torch.load alone would return other weights."""
    whole = path.read_bytes()
    start = whole.index(torch.arange(1000.0).numpy().tobytes())
    for offset in range(0, 4000, 97):
        damaged = bytearray(whole)
        damaged[start + offset] ^= 1 << offset % 8
        path.write_bytes(damaged)
        assert torch.load(path)["step"] == 3
        with pytest.raises(RedwoodError, match=r"The checkpoint .*some\.pt is damaged \(ValueError\); start anew\."):
            read_checkpoint(path, "start anew")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_cut_short(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(RedwoodError, match="is damaged"):
        read_checkpoint(path, "start anew")


def test_code_is_not_run(path, tmp_path):
    """A checkpoint of a stranger holds data, or is refused."""

    torch.save({"step": Trap(tmp_path / "trapped")}, path)
    with pytest.raises(RedwoodError, match="is damaged"):
        read_checkpoint(path, "start anew")
    assert not (tmp_path / "trapped").exists()


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


@pytest.mark.parametrize("limit", [100, 2000, 200_000])
def test_no_room_is_told_and_leaves_the_old_file_alone(path, limit):
    """torch's own error, of positions in the file, hides the cause."""
    write_checkpoint({"weights": torch.arange(10.0)}, path)
    with (
        pytest.raises(StorageError, match=rf"^{path} cannot be written \(File too large\); make room there"),
        file_size_limit(limit),
    ):
        write_checkpoint({"weights": torch.arange(100_000.0)}, path)
    assert list(path.parent.iterdir()) == [path]
    assert torch.equal(read_checkpoint(path, "")["weights"], torch.arange(10.0))
