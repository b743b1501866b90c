"""A state in a safetensors file."""

import hashlib
import math
import pickle
import pickletools
from collections import OrderedDict

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from redwood.core.errors import DataError, RedwoodError
from redwood.experiments.runs.tensor_file import SEAL, read_state, write_state


def same(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or (one != one and other != other))


STATE = {
    "next_phase": 3,
    "rows": [[0.1, None], [1e-320, True]],
    "odd": [math.inf, -math.inf, math.nan, 2**127, "text", "", (), {}, []],
    "method": [
        {
            "network": OrderedDict(weight=torch.randn(3, 4), empty=torch.zeros(0, 5), count=torch.tensor(7)),
            "by_class": {0: torch.arange(3), 5: (torch.ones(2, dtype=torch.bool), "b")},
            "half": torch.randn(4).bfloat16(),
            "bytes": torch.randint(0, 256, (4, 2), dtype=torch.uint8).t(),
        }
    ],
}


def test_a_state_comes_back_bit_for_bit(tmp_path):
    write_state(STATE, tmp_path / "model.safetensors", prefix="method.0.")
    assert same({**STATE}, read_state(tmp_path / "model.safetensors"))


def test_other_programs_read_the_weights_by_their_names(tmp_path):
    write_state(STATE, tmp_path / "model.safetensors", prefix="method.0.")
    tensors = load_file(tmp_path / "model.safetensors")
    assert torch.equal(tensors["network.weight"], STATE["method"][0]["network"]["weight"])
    assert {"by_class.0", "by_class.5.0", "half", "bytes"} <= tensors.keys()


def test_tensors_that_share_their_memory_and_names_that_meet(tmp_path):
    shared = torch.randn(2)
    state = {"method": [{"a": shared}], "a": shared[:1], "a.b": torch.ones(1), "c": {"a": {"b": torch.zeros(1)}}}
    write_state(state, tmp_path / "file", prefix="method.0.")
    assert same(state, read_state(tmp_path / "file"))


def test_no_part_of_the_file_is_a_pickle(tmp_path):
    write_state(STATE, tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    with pytest.raises(ValueError, match=r"at position|pickle exhausted"):
        list(pickletools.genops(content))
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "file", weights_only=False)


@pytest.mark.parametrize("value", [object(), torch.nn.Linear(1, 1), {1, 2}])
def test_what_a_file_cannot_hold(tmp_path, value):
    with pytest.raises(RedwoodError, match=r"state a\.0 is a .*, which a safetensors file cannot hold"):
        write_state({"a": [value]}, tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_files_of_others_and_damaged_ones(tmp_path):
    path = tmp_path / "file"
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(DataError, match="was not written by redwood"):
        read_state(path)
    write_state(STATE, path)
    whole = path.read_bytes()
    for content in (b"", b"nonsense", whole[:-5], whole[:100]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="is damaged"):
            read_state(path)
    for structure in ('{"a": {"code": 1}}', "[]"):
        save_file({"a": torch.ones(1)}, path, {"redwood": structure})
        reseal(path)
        with pytest.raises(DataError, match="is damaged"):
            read_state(path)


def reseal(path):
    """Give a file a seal that is right."""
    with safe_open(path, "pt") as file:
        texts = file.metadata()
    save_file(load_file(path), path, texts | {SEAL: "0" * 64})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0" * 64, hashlib.sha256(content).hexdigest().encode(), 1))


def test_every_byte_is_sealed(tmp_path):
    """In weights, in names, in the structure and in the seal."""
    path = tmp_path / "file"
    write_state({"a": [torch.arange(3)], "b": 0.5, "c": SEAL}, path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DataError):
            read_state(path)
    path.write_bytes(whole)
    reseal(path)
    assert read_state(path)["b"] == 0.5
