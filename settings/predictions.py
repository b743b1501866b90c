"""Checks of what a method answers with, shared by all that ask it for predictions or actions."""

from typing import Any

import gymnasium
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from redwood.settings.errors import InvalidPredictionError


def check_form(
    answer: Any,
    space: gymnasium.Space[Any],
    n: int,
    call: str,
    *,
    scores: bool = False,
    samples: str = "samples",
    choices: str = "classes",
) -> None:
    """Raise `InvalidPredictionError` unless `answer` is a tensor of the shape and kind that `space` asks for.

    The values are not read, so that this costs no synchronisation with a GPU; see `check_values`.

    Args:
        answer: Integers (n,) where `space` is `Discrete`, else numbers (n, ...).
        space: What is answered with.
        n: Number of samples or observations.
        call: What gave the answer, such as "predict returned".
        scores: Whether a score for each choice (n, K) will do as well.
        samples: What the answer is for, in the message.
        choices: What a `Discrete` space holds, in the message.
    """
    if _fits(answer, space, n, scores):
        return
    if isinstance(answer, Tensor):
        came = f"a tensor of shape {tuple(answer.shape)} of {str(answer.dtype).removeprefix('torch.')}"
    else:
        came = "None" if answer is None else f"an object of {type(answer).__module__}.{type(answer).__name__}"
    raise InvalidPredictionError(f"{call} {came} for {n} {samples}; {_wanted(space, n, choices, scores)}.")


def _fits(answer: Any, space: gymnasium.Space[Any], n: int, scores: bool) -> bool:
    if not isinstance(answer, Tensor):
        return False
    shape = tuple(answer.shape)
    if not isinstance(space, Discrete):
        return shape == (n, *(space.shape or ())) and answer.dtype != torch.bool and not answer.is_complex()
    if scores and shape == (n, int(space.n)):
        return answer.dtype != torch.bool and not answer.is_complex()
    return shape == (n,) and not (answer.is_floating_point() or answer.is_complex() or answer.dtype == torch.bool)


def check_values(answer: Tensor, space: gymnasium.Space[Any], call: str, choices: str = "classes") -> None:
    """Raise `InvalidPredictionError` if an answer that passed `check_form` holds no choice of `space`, or no number.

    Numbers may lie outside of the bounds of `space`, and scores may be infinite, but not NaN.
    """
    if not answer.numel():
        return
    if answer.is_floating_point():
        wrong = ~answer.isfinite() if isinstance(space, Box) else answer.isnan()
        if bool(wrong.any()):
            raise InvalidPredictionError(f"{call} {answer[wrong][0].item()}, which is no number to go by.")
    elif isinstance(space, Discrete) and answer.dim() == 1:
        first, last = int(space.start), int(space.start + space.n) - 1
        for value in (int(answer.min()), int(answer.max())):
            if not first <= value <= last:
                raise InvalidPredictionError(f"{call} {value}, but the {choices} are {first} to {last}.")


def _wanted(space: gymnasium.Space[Any], n: int, choices: str, scores: bool) -> str:
    if not isinstance(space, Discrete):
        return f"return the numbers {(n, *(space.shape or ()))} as a tensor"
    integers = f"return {choices} ({n},)"
    return f"{integers} or scores ({n}, {space.n})" if scores else f"{integers}, a tensor of integers"
