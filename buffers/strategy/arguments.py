"""Check of the arguments of a strategy: Lightning would pass on or ignore unknown ones."""

import inspect
from collections.abc import Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches

from redwood.buffers.distributed.async_buffer import AsyncRehearsalBuffer

# Arguments of the wrapper of a module that Lightning sets itself.
_SET = {"self", "module", "device_ids", "device_id"}


def check_names(kind: type, wrapper: type | None, others: Mapping[str, object]) -> None:
    """Refuse arguments that would be ignored.

    Args:
        kind: The class of the strategy.
        wrapper: The class that the strategy wraps a module in, and passes arguments on to.
        others: Arguments for the strategy that it inherits from.

    Raises:
        TypeError: If there is no argument of such a name.
    """
    known = _known(kind, wrapper)
    for name in others:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(sorted(known))}."
            raise TypeError(f"{kind.__name__} has no argument {name}; {hint}")


def check_types(*, extras: Sequence[str], timeout: object, labels: object, tasks: object) -> None:
    """Raise `TypeError` if an option is of another kind, which would fail only in training."""
    if isinstance(extras, str):
        raise TypeError(f"extras is a sequence of names, got the text {extras!r}; write extras=({extras!r},).")
    if timeout is not None and not isinstance(timeout, timedelta):
        raise TypeError(f"timeout is a datetime.timedelta, got {timeout!r}; write timedelta(seconds=...).")
    for name, find in (("labels", labels), ("tasks", tasks)):
        if not callable(find):
            raise TypeError(f"{name} is a function of a batch, got {find!r}; write {name}=lambda batch: ...")


def check_buffer(buffer: object) -> None:
    """Raise `TypeError` if the argument `buffer` of a strategy is none."""
    if not isinstance(buffer, AsyncRehearsalBuffer):
        raise TypeError(
            f"buffer is the `memory` of an earlier strategy, got {buffer!r}; to go on from a checkpoint, "
            "give its path to Trainer.fit as ckpt_path."
        )


def _known(kind: type, wrapper: type | None) -> set[str]:
    """The names of all arguments of a strategy, of those that it inherits from, and of its wrapper."""
    named = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    makers = [vars(base)["__init__"] for base in kind.__mro__ if "__init__" in vars(base) and base is not object]
    makers += [] if wrapper is None else [vars(wrapper)["__init__"]]
    parameters = [inspect.signature(make).parameters.values() for make in makers]
    return {one.name for some in parameters for one in some if one.kind in named} - _SET
