"""Parameters of a test of which some always run, and the others as `slow` tests."""

from collections.abc import Container, Iterable
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def slow_but(kept: Container[Any], values: Iterable[Any]) -> list[ParameterSet]:
    """The values, or tuples of values, as parameters; those that are not kept are slow."""
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)), marks=[] if value in kept else pytest.mark.slow
        )
        for value in values
    ]
