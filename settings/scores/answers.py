"""The answers of a method (classes, label sets or numbers of a space), and their checks."""

from typing import Any, TypeAlias

import gymnasium
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary
from torch import Tensor

from redwood.core.errors import InvalidPredictionError

# A space whose elements have any type.
Space: TypeAlias = gymnasium.Space[Any]


def check_form(answer: object, space: Space, n: int, call: str, *, scores: bool = False) -> None:
    """Raise `InvalidPredictionError` unless `answer` is a tensor of the shape and type that `space` asks for.

    The values are not read, so the check costs no synchronisation with a GPU; see `check_values`.

    Args:
        answer: Integers (n,) where `space` is `Discrete`, label sets (n, L) bool where it is `MultiBinary`, else
            numbers (n, ...).
        space: The space of the answers.
        n: Number of samples.
        call: The call that gave the answer, to start the message, such as "predict returned".
        scores: Whether a score for each class (n, K), or for each label (n, L), is accepted too.
    """
    if _fits(answer, space, n, scores):
        return
    if isinstance(answer, Tensor):
        given = f"a tensor of shape {tuple(answer.shape)} of {str(answer.dtype).removeprefix('torch.')}"
    else:
        given = "None" if answer is None else f"an object of {type(answer).__module__}.{type(answer).__name__}"
    raise InvalidPredictionError(f"{call} {given} for {n} samples; {_wanted(space, n, scores)}.")


def check_values(answer: Tensor, space: Space, call: str) -> None:
    """Raise `InvalidPredictionError` if an answer that passed `check_form` holds an unknown class or is no number.

    Numbers may lie outside of the bounds of `space`. Scores may be infinite, but not NaN.
    """
    if not answer.numel():
        return
    if answer.is_floating_point():
        wrong = ~answer.isfinite() if isinstance(space, Box) else answer.isnan()
        if bool(wrong.any()):
            raise InvalidPredictionError(f"{call} {answer[wrong][0].item()}, which is not a usable number.")
    elif isinstance(space, Discrete) and answer.dim() == 1:
        first, last = int(space.start), int(space.start + space.n) - 1
        for value in (int(answer.min()), int(answer.max())):
            if not first <= value <= last:
                raise InvalidPredictionError(f"{call} {value}, but the classes are {first} to {last}.")


def decisions(answer: Tensor, y: Tensor) -> Tensor:
    """Return the predictions in the form of the targets `y`: classes (B,), label sets (B, K) or numbers.

    Args:
        answer: The result of `predict`. Of label sets, the labels with a score above 0 are predicted.
        y: The targets; only their form is read.
    """
    if y.is_floating_point():
        return answer.view_as(y)
    if y.dtype == torch.bool:
        return answer if answer.dtype == torch.bool else answer > 0
    return answer.argmax(1) if answer.dim() == 2 else answer


def _fits(answer: object, space: Space, n: int, scores: bool) -> bool:
    if not isinstance(answer, Tensor):
        return False
    shape = tuple(answer.shape)
    if isinstance(space, MultiBinary):
        return shape == (n, *space.shape) and (answer.dtype == torch.bool or (scores and answer.is_floating_point()))
    if not isinstance(space, Discrete):
        return shape == (n, *(space.shape or ())) and answer.dtype != torch.bool and not answer.is_complex()
    if scores and shape == (n, int(space.n)):
        return answer.dtype != torch.bool and not answer.is_complex()
    return shape == (n,) and not (answer.is_floating_point() or answer.is_complex() or answer.dtype == torch.bool)


def _wanted(space: Space, n: int, scores: bool) -> str:
    if isinstance(space, MultiBinary):
        sets = f"return label sets {(n, *space.shape)}"
        return f"{sets}, bool, or scores of that shape, floats" if scores else f"{sets}, a tensor of bool"
    if not isinstance(space, Discrete):
        return f"return the numbers {(n, *(space.shape or ()))} as a tensor"
    integers = f"return classes ({n},)"
    return f"{integers} or scores ({n}, {space.n})" if scores else f"{integers}, a tensor of integers"
