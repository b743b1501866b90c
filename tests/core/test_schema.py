"""What a file has to hold is said once; whatever differs is named."""

import math

import pytest
import torch

from redwood.core.errors import DataError
from redwood.core.schema import ANYTHING, ListOf, MapOf, Number, Record, Text, check, check_alike

RECORD = Record({"name": Text(), "rows": ListOf(Number(0, 1), length=2), "more": MapOf(ANYTHING)}, frozenset({"more"}))
GOOD = {"name": "a", "rows": [0, 1.0]}


def test_what_fits():
    check(GOOD, RECORD, "The file")
    check(GOOD | {"more": {"x": object()}}, RECORD, "The file")
    check({"a": None}, MapOf(Number(optional=True)), "The file")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([1], "its content has to be a mapping, not a list"),
        ({"name": "a"}, "its content lacks rows"),
        (GOOD | {"strange": 1}, "holds 'strange', which redwood does not write"),
        (GOOD | {"name": ""}, "name has to be a text, not ''"),
        (GOOD | {"name": 3}, "name has to be a text, not 3"),
        (GOOD | {"rows": "ab"}, "rows has to be a list, not 'ab'"),
        (GOOD | {"rows": [1]}, "rows has to have 2 entries, not 1"),
        (GOOD | {"rows": [1, 2]}, r"rows\[1\] has to be at least 0 and at most 1, not 2"),
        (GOOD | {"rows": [1, True]}, r"rows\[1\] has to be a finite number, not True"),
        (GOOD | {"rows": [1, math.nan]}, r"rows\[1\] has to be a finite number, not nan"),
        (GOOD | {"rows": [1, None]}, r"rows\[1\] has to be a finite number, not None"),
        (GOOD | {"more": {1: 2}}, "more has to be a mapping of names"),
    ],
)
def test_what_does_not(value, says):
    with pytest.raises(DataError, match=rf"^The file is damaged or not redwood's: .*{says}.*; put back .*\.$"):
        check(value, RECORD, "The file")


def test_whole_numbers_and_forms():
    for value, spec in ((1.5, Number(whole=True)), ("a b", Text(pattern=r"\w+")), ([], ListOf(ANYTHING, least=1))):
        with pytest.raises(DataError):
            check(value, spec, "The file")


LIKE = {"weights": {"a": torch.zeros(2, 3)}, "n": 1, "name": "x", "on": True, "rows": [1], "later": None}
LIKE["kept"] = torch.empty(0)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": {"a": torch.zeros(5, 1), "b": torch.zeros(1)}},
        {"n": 2.5},
        {"kept": torch.zeros(3, 4, dtype=torch.int64)},
        {"rows": (1, 2)},
        {"later": {"a": torch.zeros(1)}},
        {"more": 1},
    ],
)
def test_a_state_may_grow(change):
    check_alike(LIKE | change, LIKE, "The file")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weights": {}}, "weights lacks a"),
        ({"weights": [1]}, "weights has to be a mapping"),
        ({"weights": {"a": torch.zeros(2)}}, "a has to be a tensor of 2 dimensions"),
        ({"weights": {"a": torch.zeros(2, 3).long()}}, "float32, not a tensor"),
        ({"n": "1"}, "n has to be a number"),
        ({"n": True}, "n has to be a number"),
        ({"on": 1}, "on has to be true or false"),
        ({"name": 1}, "name has to be a text"),
        ({"rows": 1}, "rows has to be a list"),
    ],
)
def test_but_not_become_another(change, says):
    with pytest.raises(DataError, match=f"holds another state than this method's: .*{says}"):
        check_alike(LIKE | change, LIKE, "The file")
