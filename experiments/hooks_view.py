"""Print what a class below a method may override: the hooks of its base classes, with a line on each.

Hooks that users override most come first, by what they are about; then the fields of the `Step` that they get.
"""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from redwood.engine.terminal import Terminal
from redwood.methods.base import Method
from redwood.methods.lightning import LightningMethod
from redwood.methods.lookup import get_method
from redwood.methods.training.step import Step

# What hooks are about, the most overridden first. All others stand behind them, by the class that declares them.
GROUPS = {
    "a training step": (
        *("loss", "losses", "augment", "after_loss", "after_backward", "before_optimizer_step", "on_batch_end"),
        *("outputs", "scores", "before_step", "after_step", "critic_outputs", "policy_input"),
    ),
    "before and after a phase": (
        *("configure", "on_task_start", "on_task_end", "on_train_start", "before_training", "after_training"),
        *("fit", "learn", "before_rollout"),
    ),
    "what is stored and replayed": ("should_add", "further_leaves", "add", "draw", "join"),
    "predictions": ("predict", "logits", "forward", "masked", "features"),
}
_FIELD = re.compile(r"^    (\w+): ((?:.+)(?:\n {8}.+)*)", re.MULTILINE)


class Hook(NamedTuple):
    """A method of a class that subclasses may override; `method` is where it was declared first."""

    declared_by: str
    call: str
    summary: str


def hooks_of(method: type[Method]) -> Iterator[Hook]:
    """The public methods of a class, from the most general base on; the summary is that of the class itself."""
    seen: set[str] = set()
    for base in reversed(method.__mro__):
        if not issubclass(base, Method):
            continue
        for name, value in vars(base).items():
            if inspect.isfunction(value) and not name.startswith("_") and name not in seen:
                seen.add(name)
                function = getattr(method, name)
                parameters = ", ".join(list(inspect.signature(function).parameters)[1:])
                text = (inspect.getdoc(function) or "").partition("\n\n")[0]
                yield Hook(base.__name__, f"{name}({parameters})", " ".join(text.split()))


def print_hooks(key: str) -> None:
    """Print the hooks of a method by its key or reference.

    Raises:
        RedwoodError: If it is unknown or cannot be imported.
    """
    console, method = Terminal(), get_method(key)
    groups = grouped(hooks_of(method))
    for title, lines in groups.items():
        _print_table(title, lines, console)
    if issubclass(method, LightningMethod):
        _print_table("fields of step", dict(fields_of_step()), console)


def grouped(hooks: Iterable[Hook]) -> dict[str, dict[str, str]]:
    """The summary of each hook by its call, in groups with a title."""
    titles = {name: title for title, names in GROUPS.items() for name in names}
    places = {name: place for place, name in enumerate(titles)}
    groups: dict[str, dict[str, str]] = {title: {} for title in GROUPS}
    named = {hook.call.partition("(")[0]: hook for hook in hooks}
    for name, hook in sorted(named.items(), key=lambda entry: places.get(entry[0], len(places))):
        title = titles.get(name, f"further of {hook.declared_by}")
        groups.setdefault(title, {})[hook.call] = hook.summary
    return {title: lines for title, lines in groups.items() if lines}


def fields_of_step() -> Iterator[tuple[str, str]]:
    """The name of each field of a training step, and a line on it."""
    for name, text in _FIELD.findall(inspect.getdoc(Step) or ""):
        yield name, " ".join(text.split())


def _print_table(title: str, lines: Mapping[str, str], console: Terminal) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title=title, title_justify="left")
    for first, summary in lines.items():
        table.add_row(Text(first), Text(summary))
    console.print(table)
