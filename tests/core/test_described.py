"""Values in messages."""

import numpy as np
import pytest
import torch

from redwood.core.described import LONGEST, described, described_types

X = np.zeros((1797, 64), np.float32)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        ("cat", "'cat'"),
        ([1, 2.5, None], "[1, 2.5, None]"),
        ((1,), "(1,)"),
        (X, "ndarray (1797, 64) float32"),
        (torch.zeros(2, 3), "Tensor (2, 3) torch.float32"),
        ({"x": X, "y": 1}, "{'x': ndarray (1797, 64) float32, 'y': 1}"),
        ([(X, X)] * 2, "a list of 2"),
        (X.tolist(), "a list of 1797"),
        (torch.optim.Adam, "the class Adam"),
        (np.mean, "the function mean"),
        (object(), "an object of object"),
        (torch.optim.Adam([torch.zeros(1)]), "an object of Adam"),
    ],
)
def test_short_values_are_written_and_others_told_by_type_and_shape(value, text):
    assert described(value) == text


def test_a_long_text_is_cut():
    assert len(described("a" * 1000)) == LONGEST


def test_parts_by_their_types():
    assert described_types((X, "y", None)) == "ndarray (1797, 64) float32, str, NoneType"
