from collections import OrderedDict, UserDict, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from redwood.buffers.pytree import flatten, to_plain, unflatten


class Pair(NamedTuple):
    one: Tensor
    other: list[Tensor]


TREE = {"x": torch.tensor(0), "deep": {"pair": Pair(torch.tensor(1), [torch.tensor(2)]), "t": (torch.tensor(3),)}}


def test_leaves_come_in_order_with_their_paths() -> None:
    assert [path for path, _ in flatten(TREE)] == ["x", "deep.pair.0", "deep.pair.1.0", "deep.t.0"]
    assert [int(leaf) for _, leaf in flatten(TREE)] == [0, 1, 2, 3]


def test_a_tensor_is_a_tree() -> None:
    ((path, leaf),) = flatten(torch.tensor(5))
    assert (path, int(leaf)) == ("", 5)


def test_rebuild_keeps_the_structure() -> None:
    tree = unflatten(TREE, iter("abcd"))
    assert tree == {"x": "a", "deep": {"pair": Pair("b", ["c"]), "t": ("d",)}}
    assert isinstance(tree["deep"]["pair"], Pair)


def test_plain_trees_are_of_dictionaries_and_lists() -> None:
    tree = to_plain(TREE, lambda leaf: leaf + 1)
    assert tree == {"x": 1, "deep": {"pair": [2, [3]], "t": [4]}}
    assert type(tree["deep"]["pair"]) is list


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"x": {"a": 3}}, "got int for leaf x.a; convert it first"),
        ([torch.tensor(0), 1.5], "got float for leaf 1"),
        ("text", "got str for the sample"),
    ],
)
def test_leaves_have_to_be_tensors(tree: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(flatten(tree))


@dataclass(frozen=True)
class Record:
    x: torch.Tensor
    note: object = None
    more: list[torch.Tensor] = field(default_factory=list, init=False)


@pytest.mark.parametrize(
    "tree",
    [
        UserDict({"x": torch.tensor(1), "y": torch.tensor(2)}),
        OrderedDict(y=torch.tensor(1), x=torch.tensor(2)),
        defaultdict(list, x=torch.tensor(1), y=[torch.tensor(2)]),
        Record(torch.tensor(1), Record(torch.tensor(2))),
        [None, torch.tensor(1), {"x": torch.tensor(2), "y": None}],
    ],
    ids=lambda tree: type(tree).__name__,
)
def test_containers_of_any_kind(tree: object) -> None:
    assert [leaf.item() for _, leaf in flatten(tree)] == [1, 2]
    before = repr(tree)
    again = unflatten(tree, iter([torch.tensor(3), torch.tensor(4)]))
    assert type(again) is type(tree)
    assert repr(again) == before.replace("(2)", "(4)").replace("(1)", "(3)")
    assert repr(tree) == before
    simple = to_plain(tree, lambda leaf: leaf + 2)
    assert [path for path, _ in flatten(simple)] == [path for path, _ in flatten(tree)]
    assert type(simple) in (dict, list)
