"""The walk that looks for leaked test data finds them wherever they hide, so that finding none means something."""

import functools
from collections import deque

import pytest
import torch

from tests.leak_check import finds_test_data
from tests.samples import numbered

DATA = numbered()


class Slotted:
    __slots__ = ("hidden",)

    def __init__(self, hidden):
        self.hidden = hidden

    def method(self):
        return self.hidden


class Plain:
    def __init__(self, hidden):
        self.__private = hidden


def in_closure(hidden):
    return lambda: hidden


def in_default(hidden):
    def function(x=hidden):
        return x

    return function


def in_generator(hidden):
    yield
    yield hidden


def in_started_generator(hidden):
    generator = in_generator(hidden)
    next(generator)
    return generator


def in_view(hidden):
    return torch.cat([torch.zeros(2, *hidden.shape[1:]).to(hidden), hidden])[:2]


HIDING_PLACES = {
    "attribute": Plain,
    "slot": Slotted,
    "bound method": lambda hidden: Slotted(hidden).method,
    "closure": in_closure,
    "default": in_default,
    "partial": lambda hidden: functools.partial(print, hidden),
    "generator": in_generator,
    "started generator": in_started_generator,
    "dictionary": lambda hidden: {"a": [{"b": (hidden,)}]},
    "deque": lambda hidden: deque([hidden]),
    "iterator": lambda hidden: iter([hidden]),
    "view of a larger tensor": in_view,
    "array": lambda hidden: hidden.numpy(),
}


@pytest.mark.parametrize("hide", HIDING_PLACES.values(), ids=HIDING_PLACES)
class TestFindsTestData:
    def test_samples(self, hide):
        assert finds_test_data(DATA, [1, hide(DATA.x_test.clone())])
        assert finds_test_data(DATA, [1, hide(DATA.x_test[3:4].clone())])

    def test_labels(self, hide):
        assert finds_test_data(DATA, [1, hide(DATA.y_test.clone())])

    def test_nothing_else(self, hide):
        assert not finds_test_data(DATA, [1, hide(DATA.x.clone()), hide(DATA.y.clone())])


def test_labels_in_a_list():
    assert finds_test_data(DATA, {"y": DATA.y_test.tolist()})
    assert not finds_test_data(DATA, {"y": DATA.y.tolist()})
