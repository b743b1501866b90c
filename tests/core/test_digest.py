"""Digests of tensors and plain values."""

import numpy as np
import pytest
import torch
from torch import nn

from redwood.core.digest import as_text, bytes_digest, digest

VALUES = {
    "a number": 1,
    "another type": 1.0,
    "a truth value": True,
    "nothing": None,
    "a text": "1",
    "a tensor": torch.tensor([1.0, 2.0]),
    "another order": torch.tensor([2.0, 1.0]),
    "another dtype": torch.tensor([1, 2]),
    "another shape": torch.tensor([[1.0, 2.0]]),
    "bfloat16": torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
    "an array": np.array([1, 2]),
    "another array": np.array([1, 3]),
    "an empty list": [],
    "an empty mapping": {},
    "a list": [1, 2],
    "a nested list": [[1], 2],
    "a mapping": {"a": 1, "b": [2]},
    "another key": {"a": 1, "c": [2]},
    "an object": nn.ReLU(),
    "a parameter without a shape": nn.LazyLinear(2).weight,
}


def test_values_that_differ_have_digests_that_differ():
    found = {name: digest(value) for name, value in VALUES.items()}
    assert len(set(found.values())) == len(VALUES), found


def test_equal_values_have_one_digest():
    tensor = torch.arange(6.0).reshape(2, 3)
    assert digest({"a": 1, "b": tensor}) == digest({"b": tensor.T.contiguous().T, "a": 1})
    assert digest([1, (2, 3)]) == digest((1, [2, 3]))
    assert digest(nn.ReLU()) == digest(nn.ReLU())  # no address counts
    assert digest(tensor.to_sparse()) == digest(tensor)
    assert digest(nn.Parameter(tensor)) == digest(tensor)


def test_digests_continue():
    first, second = torch.arange(4), torch.arange(4, 8)
    assert bytes_digest(second, bytes_digest(first, 0)) == bytes_digest(torch.arange(8), 0)
    assert digest(2, digest(1)) != digest(1, digest(2))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64])
def test_a_single_bit_counts(dtype):
    before, after = torch.zeros(50, dtype=dtype), torch.zeros(50, dtype=dtype)
    after[-1] = 1
    assert bytes_digest(before, 5) != bytes_digest(after, 5)


def test_text():
    assert as_text(10) == "0000000a"
