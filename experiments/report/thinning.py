"""Make a report small: large values of little information are thinned out first, and the page says so."""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from redwood.experiments.report.content import Content

MAX_BYTES = 1_800_000  # of the content; the page around it needs less than 100 kB
_ONLINE_POINTS, _MATRIX_ROWS, _NAMED_SLICES = 120, 24, 60
_DETAILED = 4  # methods of a setting that keep their details


Step: TypeAlias = Callable[[Content], tuple[Content, str]]


def fit(content: Content, max_bytes: int = MAX_BYTES) -> Content:
    """Return the content with what does not fit left out, and a sentence among its `notes` on each such part."""
    for step in _ALWAYS:
        content = _with_note(content, step)
    for step in _IF_TOO_LARGE:
        if size_of(content) <= max_bytes:
            break
        content = _with_note(content, step)
    return content


def size_of(content: Content) -> int:
    """Bytes of the content as JSON in a page."""
    return len(json.dumps(content, separators=(",", ":")).encode())


def thin(values: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of some values, evenly spaced, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    return [values[round(place * (len(values) - 1) / (most - 1))] for place in range(most)]


def _with_note(content: Content, step: Step) -> Content:
    changed, note = step(content)
    return content if changed == content else changed | {"notes": [*content["notes"], note]}


def _change_pairs(content: Content, name: str, change: Callable[[Content, Any], Any]) -> Content:
    """The content with another entry of that name in each pair that has one."""
    pairs = [
        pair | {name: change(pair, pair[name])} if pair.get(name) is not None else pair for pair in content["pairs"]
    ]
    return content | {"pairs": pairs}


def _thin_online(content: Content) -> tuple[Content, str]:
    changed = _change_pairs(content, "online", lambda _, curve: [thin(axis, _ONLINE_POINTS) for axis in curve])
    return changed, f"Online curves show {_ONLINE_POINTS} of their points."


def _thin_tests(content: Content) -> tuple[Content, str]:
    changed = _change_pairs(content, "tests", lambda _, tests: _thinned(tests, _ONLINE_POINTS))
    return changed, f"Curves of tests inside phases show {_ONLINE_POINTS} of their points."


def _thinned(tests: Any, most: int) -> Any:
    """Curves of tests with at most `most` points each."""
    if isinstance(tests, dict):
        return {name: _thinned(curve, most) for name, curve in tests.items()}
    if isinstance(tests, list) and tests and isinstance(tests[0], list):
        return [thin(curve, most) for curve in tests]
    return thin(tests, most) if isinstance(tests, list) else tests


def _thin_matrices(content: Content) -> tuple[Content, str]:
    def smaller(_: Content, matrix: list[list[float]]) -> Any:
        if max(len(matrix), len(matrix[0])) <= _MATRIX_ROWS:
            return matrix
        return [thin(row, _MATRIX_ROWS) for row in thin(matrix, _MATRIX_ROWS)]

    large = {
        pair["setting"]: (len(pair["matrix"]), len(pair["matrix"][0]))
        for pair in content["pairs"]
        if pair.get("matrix")
    }
    settings = [
        one | {"shown": [thin(range(size), _MATRIX_ROWS) for size in large[number]]}
        if number in large and max(large[number]) > _MATRIX_ROWS
        else one
        for number, one in enumerate(content["settings"])
    ]
    changed = _change_pairs(content, "matrix", smaller) | {"settings": settings}
    return changed, f"Matrices show {_MATRIX_ROWS} of their rows and columns, evenly spaced."


def _cut_slices(content: Content) -> tuple[Content, str]:
    settings = [
        one | {"slices": one["slices"] | {"names": one["slices"]["names"][:_NAMED_SLICES]}}
        if one.get("slices")
        else one
        for one in content["settings"]
    ]
    changed = _change_pairs(content, "slices", lambda _, values: values[:_NAMED_SLICES]) | {"settings": settings}
    return changed, f"Only the first {_NAMED_SLICES} classes or slices are shown."


def _cut_spans(content: Content) -> tuple[Content, str]:
    return content | {"spans": thin(content["spans"], 2000)}, "The time line shows 2000 of the runs."


def _thin_everything(content: Content) -> tuple[Content, str]:
    changed = _change_pairs(content, "online", lambda _, curve: [thin(axis, 30) for axis in curve])
    changed = _change_pairs(changed, "tests", lambda _, tests: _thinned(tests, 30))
    return changed, "Online curves and curves of tests inside phases show 30 of their points, as there are many runs."


def _leave_out(name: str, note: str) -> Step:
    """Keep an entry only for the best methods of each setting."""

    def step(content: Content) -> tuple[Content, str]:
        kept = _best(content)
        return _change_pairs(content, name, lambda pair, value: value if _place(pair) in kept else None), note

    return step


def _best(content: Content) -> set[tuple[int, int]]:
    """The pairs of the best methods of each setting."""
    done = sorted(
        (pair for pair in content["pairs"] if "loss" in pair),
        key=lambda pair: (pair["loss"] is None, pair["loss"] or 0.0),
    )
    kept: set[tuple[int, int]] = set()
    for number in range(len(content["settings"])):
        kept |= {_place(pair) for pair in [pair for pair in done if pair["setting"] == number][:_DETAILED]}
    return kept


def _place(pair: Content) -> tuple[int, int]:
    return pair["setting"], pair["method"]


def _drop(name: str, note: str) -> Step:
    return lambda content: (_change_pairs(content, name, lambda _, value: None), note)


def _shorten_curves(content: Content) -> tuple[Content, str]:
    changed = content
    for name in ("curve", "spread", "lost"):
        changed = _change_pairs(changed, name, lambda _, values: values if len(values) <= 12 else None)
    return changed, "Curves over more than 12 phases are left out, as there are many runs."


def _drop_spans(content: Content) -> tuple[Content, str]:
    return content | {"spans": []}, "The time line of the runs is left out."


_ALWAYS: tuple[Step, ...] = (_thin_online, _thin_tests, _thin_matrices, _cut_slices, _cut_spans)
_MANY = f"for all but the {_DETAILED} best methods of each setting, as there are many runs"
_IF_TOO_LARGE: tuple[Step, ...] = (
    _thin_everything,
    _leave_out("online", f"Online curves are left out {_MANY}."),
    _leave_out("tests", f"Curves of tests inside phases are left out {_MANY}."),
    _leave_out("matrix", f"Matrices are left out {_MANY}."),
    _leave_out("slices", f"Scores by class are left out {_MANY}."),
    _drop("online", "Online curves are left out, as there are many runs."),
    _drop("tests", "Curves of tests inside phases are left out, as there are many runs."),
    _drop("objectives", "Scores of single seeds are left out, as there are many runs."),
    _drop_spans,
    _shorten_curves,
    _drop("matrix", "Matrices are left out, as there are many runs."),
    _drop("slices", "Scores by class are left out, as there are many runs."),
    _drop("spread", "Deviations along curves are left out, as there are many runs."),
    _drop("curve", "Curves are left out, as there are many runs."),
    _drop("lost", "What was lost by task is left out, as there are many runs."),
)
