"""Names of settings, methods and data sets as readers see them: short, and in lines that fit."""

import re
from collections.abc import Iterable, Sequence

from redwood.settings.scores.results import Results

MAX_LETTERS = 20  # of a line of a name
_JOINS = "+,"  # parts of a method; environments of a stream
MAX_TASK_LETTERS = 16  # of the name of a task that stands on an axis


def short_name(name: str) -> str:
    """The name of a setting or method without its module or file; of a composed one, each part's."""
    return "+".join(part.rpartition(":")[2].rpartition("/")[2] for part in name.split("+"))


def short_names(names: Iterable[str]) -> dict[str, str]:
    """The short name of each, or the whole where two would have the same."""
    short = {name: short_name(name) for name in dict.fromkeys(names)}
    taken = list(short.values())
    return {name: text if taken.count(text) == 1 else name for name, text in short.items()}


def has_short_names(results: Results) -> bool:
    """True if tasks are called by their names, such as months; long names stand below a figure instead."""
    return bool(results.task_names) and max(map(len, results.task_names)) <= MAX_TASK_LETTERS


def task_label(results: Results, task: int) -> str:
    """Return the name of a task on an axis or above a column: its short name, or its number."""
    return results.task_names[task] if has_short_names(results) else str(task)


def task_in_words(results: Results, task: int) -> str:
    """Return the name of a task in a text: its short name, or a number as in `task 3`."""
    return task_label(results, task) if has_short_names(results) else f"{results.phase_name} {task}"


def names_in_logs(names: Sequence[str], n_tasks: int) -> list[str]:
    """Return the name of each task in log columns: its short name, in letters that all loggers take, or `task_3`.

    Args:
        names: The names of the tasks (T,); empty where they have none.
        n_tasks: Number of tasks T.
    """
    found: list[str] = []
    for task in range(n_tasks):
        name = re.sub(r"[^\w.\- ]", "_", names[task]) if names else ""
        if not name or name == str(task) or len(name) > MAX_TASK_LETTERS:
            name = f"task_{task}"
        while name in found:
            name = f"{name} {task}"
        found.append(name)
    return found


def title_name(name: str) -> str:
    """Shorten a name for a title: a path to the file's name, a class in a file or module to the class.

    Names that are joined by plus signs or commas are shortened one by one.
    """
    return "".join(part if part in _JOINS else _without_place(part) for part in re.split(f"([{_JOINS}])", name))


def _without_place(name: str) -> str:
    place, colon, thing = name.rpartition(":")
    # `continuum:CORe50` and `drift_regression:gradual` are names, not places.
    if colon and re.search(r"[./\\]", place):
        return thing
    return re.split(r"[/\\]", name)[-1]


def wrapped(name: str, most: int = MAX_LETTERS) -> str:
    """A name in lines of at most `most` letters; they end behind underscores, signs and words, never inside a word."""
    lines = [""]
    # A part ends in underscores and signs, or where a capital letter follows a small one.
    for part in re.split(r"(?<=[_+\- :/])(?=[^_+\- :/])|(?<=[a-z])(?=[A-Z])", name):
        if lines[-1] and len(lines[-1] + part.rstrip()) > most:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip(" ") for line in lines)
