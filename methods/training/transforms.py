"""Transforms of torchvision by name, with arguments; each image of a batch gets random numbers of its own."""

import ast
import difflib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from redwood.core.errors import DataError, InvalidOptionError, reason_of
from redwood.core.seeding import preserved_random_state
from redwood.settings.data.transforms import torchvision_transforms

# Trials on one image before a run: a random transform may leave the first ones as they are.
TRIALS = 10


class ForEachImage:
    """Changes the images of a batch one by one.

    A transform of torchvision draws its random numbers once for whatever it is given, a whole batch included. Papers
    mean one draw for each image.
    """

    def __init__(self, transform: Callable[[Tensor], Tensor]) -> None:
        """Use a function of an image (C, H, W) that keeps shape and dtype.

        Raises:
            InvalidOptionError: If it is no function.
        """
        if not callable(transform):
            raise InvalidOptionError(
                f"--augmentation {transform!r} is neither a name nor a transform of images; choose none, flip, "
                "crop_flip, or one of torchvision.transforms.v2."
            )
        self._transform = transform

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W), each changed by itself."""
        return torch.stack([self._changed(image) for image in x]) if len(x) else x

    def _changed(self, image: Tensor) -> Tensor:
        changed = self._transform(image)
        if not isinstance(changed, Tensor) or changed.shape != image.shape or changed.dtype != image.dtype:
            raise DataError(f"it makes {_form(changed)} of {_form(image)}")
        return changed

    def try_on(self, image: Tensor) -> None:
        """Raise `InvalidOptionError` unless an image (C, H, W) keeps its shape and dtype; no random number is spent."""
        with preserved_random_state():
            try:
                self(image.expand(TRIALS, *image.shape))
            except Exception as error:  # torchvision and users raise what they like
                name = getattr(self._transform, "__name__", type(self._transform).__name__)
                reason = reason_of(error).partition(". ")[0]
                raise InvalidOptionError(
                    f"--augmentation {name} does not suit these images ({reason}); use one that maps an image to an "
                    "image of the same shape and type."
                ) from error


def _form(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    return f"an object of type {type(value).__name__}"


def split(text: str) -> list[ast.expr]:
    """The parts of a text like `RandomCrop(32, padding=4)+flip`, parsed and not run.

    Raises:
        InvalidOptionError: If it is not of that form.
    """
    try:
        parts = [ast.parse(text.strip(), mode="eval").body]
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        parts = []
    while parts and isinstance(parts[0], ast.BinOp) and isinstance(parts[0].op, ast.Add):
        parts[:1] = [parts[0].left, parts[0].right]
    if not parts or not all(isinstance(part, ast.Name) or _is_call(part) for part in parts):
        raise InvalidOptionError(
            f"--augmentation {text} has to be names joined by plus signs, each with its arguments, such as "
            "RandomCrop(32,padding=4)+RandomHorizontalFlip."
        )
    return parts


def _is_call(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def named_transform(node: ast.expr) -> Callable[[Tensor], Tensor]:
    """The transform of torchvision that a name, or a name with arguments, stands for.

    Raises:
        InvalidOptionError: If there is none of this name, or it does not take the arguments.
    """
    written = ast.unparse(node)
    call = node if isinstance(node, ast.Call) else ast.Call(func=node, args=[], keywords=[])
    assert isinstance(call.func, ast.Name)
    cls = _transform_class(call.func.id)
    arguments = [_value(argument, written) for argument in call.args]
    named = {str(keyword.arg): _value(keyword.value, written) for keyword in call.keywords}
    signature = inspect.signature(cls)
    try:
        signature.bind(*arguments, **named)
    except TypeError as error:
        raise InvalidOptionError(
            f"--augmentation {written} cannot be made ({error}); the arguments of {cls.__name__} are "
            f"{', '.join(signature.parameters) or 'none'}."
        ) from error
    try:
        transform: Callable[[Tensor], Tensor] = cls(*arguments, **named)
    except (TypeError, ValueError) as error:
        raise InvalidOptionError(f"--augmentation {written} cannot be made ({reason_of(error)}); change it.") from error
    return transform


def _value(node: ast.expr, written: str) -> object:
    """A literal, a transform, or a list of them."""
    if _is_call(node):
        return named_transform(node)
    if isinstance(node, ast.List | ast.Tuple):
        values = [_value(element, written) for element in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise InvalidOptionError(
            f"--augmentation {written} has the argument {ast.unparse(node)}, which is no number, text, list or "
            "transform; write it as one of these."
        ) from error


def _transform_class(name: str) -> type[Any]:
    v2 = torchvision_transforms().v2
    found = getattr(v2, name, None)
    if isinstance(found, type) and issubclass(found, v2.Transform) and found is not v2.Transform:
        return found
    near = difflib.get_close_matches(name, [key for key in vars(v2) if key[0].isupper()], n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise InvalidOptionError(
        f"--augmentation {name} is unknown{hint}; choose one of none, flip, crop_flip, or a class of "
        "torchvision.transforms.v2."
    )
