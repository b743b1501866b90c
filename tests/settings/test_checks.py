from types import SimpleNamespace

import pytest

from redwood.settings.checks import check_choice, check_range
from redwood.settings.errors import InvalidOptionError, RedwoodError, UnknownNameError


def options(value):
    return SimpleNamespace(size=value)


class TestCheckRange:
    @pytest.mark.parametrize(("value", "high"), [(1, None), (10**9, None), (1, 1), (2.5, 3)])
    def test_inside(self, value, high):
        check_range(options(value), "size", 1, high)

    @pytest.mark.parametrize(
        ("value", "high", "sentence"),
        [
            (0, None, "--size 0 has to be at least 1."),
            (4, 3, "--size 4 has to be at least 1 and at most 3."),
            (float("nan"), None, "--size nan has to be a finite number."),
        ],
    )
    def test_outside(self, value, high, sentence):
        with pytest.raises(InvalidOptionError) as caught:
            check_range(options(value), "size", 1, high)
        assert str(caught.value) == sentence


def test_check_choice():
    check_choice(options("a"), "size", ("a", "b"))
    with pytest.raises(InvalidOptionError) as caught:
        check_choice(options("c"), "size", ("a", "b"))
    assert str(caught.value) == "--size c is unknown; choose one of a, b."


class TestUnknownNameError:
    def test_it_names_the_nearest(self):
        error = UnknownNameError("method", "rehersal", ["ewc", "rehearsal"])
        assert str(error) == "There is no method named 'rehersal'. Did you mean rehearsal? Known: ewc, rehearsal."

    def test_nothing_is_near(self):
        assert "Did you mean" not in str(UnknownNameError("method", "qqq", ["ewc", "rehearsal"]))


def test_all_errors_of_ours_are_value_errors():
    assert issubclass(RedwoodError, ValueError)
    assert issubclass(UnknownNameError, RedwoodError)
