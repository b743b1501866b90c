"""Which cases of a test always run."""

from types import SimpleNamespace

import pytest

from tests.conftest import mark_all_but_few


class Case:
    """What the choice asks of an item."""

    def __init__(self, number: int, *marks: pytest.MarkDecorator) -> None:
        self.nodeid = f"tests/test_x.py::test_y[{number}]"
        self.marks = {mark.name: SimpleNamespace(args=mark.args) for mark in marks}

    def get_closest_marker(self, name: str) -> SimpleNamespace | None:
        return self.marks.get(name)

    def add_marker(self, name: str) -> None:
        self.marks[name] = SimpleNamespace(args=())


def kept(cases: list[Case]) -> list[int]:
    mark_all_but_few(cases)  # type: ignore[arg-type]
    return [number for number, case in enumerate(cases) if "slow" not in case.marks]


def test_few_cases_lie_apart_in_both_of_two_parameters():
    assert kept([Case(number, pytest.mark.few(2)) for number in range(8)]) == [0, 5]


def test_as_many_of_those_that_are_not_slow_anyway():
    few, slow = pytest.mark.few(3), pytest.mark.slow
    cases = [Case(number, few, *([slow] if number % 3 else [])) for number in range(30)]
    assert len(kept(cases)) == 3
    assert all(number % 3 == 0 for number in kept(cases))


def test_all_of_a_test_without_the_marker():
    assert kept([Case(number) for number in range(4)]) == [0, 1, 2, 3]
