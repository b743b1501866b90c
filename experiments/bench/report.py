"""Reports of suites, which follow from the suite and the events alone: a page and a JSON file."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from redwood.core.errors import RedwoodError
from redwood.core.files import write_atomically
from redwood.core.schema import Json
from redwood.engine.terminal import NOT_DEFINED, scaled
from redwood.experiments.bench.events import events_path, read_events
from redwood.experiments.bench.scores import BenchScore, Statistic, quality, rate_ratios, score_bench, speed
from redwood.experiments.bench.suite import Bench, load_suite

REPORT = "bench_report"
_HEADER = (
    *("bench", "fail", "runs", "score", "forget", "FWT", "online", "rate", "sem %"),
    *("memory", "buffer", "FLOPs", "weight", "status"),
)


def score_folder(folder: Path) -> list[BenchScore]:
    """Judge all benches of the suite that was run in a folder, by the events that are there.

    Raises:
        RedwoodError: If there is no suite, or a file is damaged.
    """
    benches = load_suite(folder).benches
    return [score_bench(b, {run: read_events(events_path(folder, run)) for run in b.runs}) for b in benches]


def report(folder: Path, baseline: Path | None = None) -> tuple[str, bool]:
    """Write `bench_report.md` and `bench_report.json` to the folder of a suite.

    Args:
        folder: The folder.
        baseline: The folder of an earlier run, to compare with.

    Returns:
        The page, and whether all benches pass.
    """
    name, scores = load_suite(folder).name, score_folder(folder)
    before = None if baseline is None else _comparable(score_folder(baseline), scores)
    text = _page(name, scores, before)
    if baseline is not None:
        text += "".join(f"\n{line}\n" for line in _caveats(folder, baseline, scores))
    content = {
        "suite": name,
        "passed": all(score.passed for score in scores),
        "quality": quality(scores),
        "speed": None if before is None else speed(scores, before),
        "benches": [_entry(score) for score in scores],
    }
    try:
        write_atomically(folder / f"{REPORT}.md", text.encode())
        write_atomically(folder / f"{REPORT}.json", f"{json.dumps(content, indent=1)}\n".encode())
    except OSError as error:
        raise RedwoodError(f"{folder / REPORT}.md cannot be written ({error.strerror}).") from error
    return text, bool(content["passed"])


def _comparable(before: Sequence[BenchScore], scores: Sequence[BenchScore]) -> list[BenchScore]:
    """Leave out the benches whose work differs from that of the bench of the same name now."""
    now = {score.bench.name: score.bench.work for score in scores}
    return [score for score in before if now.get(score.bench.name, score.bench.work) == score.bench.work]


def _caveats(folder: Path, baseline: Path, scores: Sequence[BenchScore]) -> Iterator[str]:
    """Yield one sentence for each bench, difference or version that limits the comparison."""
    stored = load_suite(baseline).benches
    now = {score.bench.name: score.bench.work for score in scores}
    others = [bench.name for bench in stored if now.get(bench.name, bench.work) != bench.work]
    if others:
        yield f"Not compared, as setting, method, options or seeds differ: {', '.join(others)}."
    was, here = _circumstances(baseline, stored), _circumstances(folder, [score.bench for score in scores])
    changed = [f"{name} {was[name]}, now {here[name]}" for name in was if name in here and was[name] != here[name]]
    if changed:
        yield f"The stored run had {'; '.join(changed)}: rates compare machines and versions, too."


def _circumstances(folder: Path, benches: Iterable[Bench]) -> Json:
    """Versions and machine of the first run that says so."""
    for run in (run for bench in benches for run in bench.runs):
        for event in read_events(events_path(folder, run)):
            if event["event"] == "meta":
                return {**event["versions"], **{key: event[key] for key in event if key not in ("event", "versions")}}
    return {}


def _entry(score: BenchScore) -> Json:
    rate = score.rate
    return {
        "bench": score.bench.name,
        "passed": score.passed,
        "runs": score.bench.seeds,
        "failed": score.failed,
        "problems": list(score.problems),
        "weight": score.bench.weight,
        "rate": None if rate is None else {"mean": rate.mean, "sem": rate.error, "n": rate.n},
        "metrics": {name: {"mean": found.mean, "sem": found.error} for name, found in score.metrics.items()},
    }


def _page(name: str, scores: Sequence[BenchScore], before: Sequence[BenchScore] | None) -> str:
    lines = [f"# Suite {name}", "", *_table([_HEADER, *map(_line, scores)]), ""]
    failed = [score for score in scores if not score.passed]
    lost, runs = sum(score.failed for score in scores), sum(score.bench.seeds for score in scores)
    lines.append(f"{'FAIL' if failed else 'PASS'}: {len(scores) - len(failed)} of {len(scores)} benches pass; ")
    lines[-1] += f"{lost} of {runs} runs failed or are missing."
    found = quality(scores)
    if found is not None:
        lines.append(f"quality {found:.4f}: weighted mean of the scores; a run that failed counts as 0.")
    if before is not None:
        lines += ["", *_comparison(scores, before)]
    problems = [f"- {problem}" for score in scores for problem in score.problems]
    return "\n".join([*lines, *(["", "Problems:", "", *problems] if problems else [])]) + "\n"


def _line(score: BenchScore) -> tuple[str, ...]:
    bench, metrics = score.bench, score.metrics

    def shown(name: str) -> str:
        return NOT_DEFINED if name not in metrics else f"{metrics[name].mean:.3f}"

    def cost(name: str, unit: str) -> str:
        return NOT_DEFINED if name not in metrics else scaled(metrics[name].mean, unit)

    online = next((name for name in metrics if name.startswith("online_")), "")
    return (
        bench.name,
        str(score.failed),
        str(bench.seeds),
        _with_error(score.objective),
        shown("forgetting"),
        shown("forward_transfer"),
        shown(online),
        NOT_DEFINED if score.rate is None else f"{score.rate.mean:.1f}",
        NOT_DEFINED if score.rate is None or not score.rate.mean else f"{100 * score.rate.error / score.rate.mean:.1f}",
        cost("peak_memory_bytes", "B"),
        cost("buffer_bytes", "B"),
        cost("total_flops", ""),
        f"{bench.weight:g}",
        "ok" if score.passed else "FAIL",
    )


def _with_error(found: Statistic | None) -> str:
    if found is None:
        return NOT_DEFINED
    return f"{found.mean:.4f}" + (f" ± {found.error:.4f}" if found.n > 1 else "")


def _comparison(scores: Sequence[BenchScore], before: Sequence[BenchScore]) -> list[str]:
    """The benches beside those of a stored run."""
    then = {score.bench.name: score for score in before}
    ratios = rate_ratios(scores, before)
    rows: list[tuple[str, ...]] = [("bench", "score", "before", "difference", "rate", "before", "ratio")]
    for score in scores:
        old = then.get(score.bench.name)
        was = None if old is None else old.objective
        known = score.objective is not None and was is not None
        rows.append(
            (
                score.bench.name,
                _with_error(score.objective),
                _with_error(was),
                f"{score.objective.mean - was.mean:+.4f}" if known and score.objective and was else NOT_DEFINED,
                NOT_DEFINED if score.rate is None else f"{score.rate.mean:.1f}",
                NOT_DEFINED if old is None or old.rate is None else f"{old.rate.mean:.1f}",
                f"{ratios[score.bench.name]:.3f}" if score.bench.name in ratios else NOT_DEFINED,
            )
        )
    ratio = speed(scores, before)
    lines = ["Compared with a stored run:", "", *_table(rows), ""]
    lines.append(
        "speed: not defined, as the stored run has no rate of these benches."
        if ratio is None
        else f"speed {ratio:.3f}: weighted geometric mean of the ratios of rates; a rate counts times the share of "
        "runs that succeeded."
    )
    gone = sorted(then.keys() - {score.bench.name for score in scores})
    return [*lines, *([f"Only in the stored run: {', '.join(gone)}."] if gone else [])]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells, the first of which are names, in the form of Markdown, each column as wide as it needs."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"| {' | '.join(c.rjust(w) if n else c.ljust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True)))} |"
        for row in rows
    ]
    rule = "|".join("-" * (width + 1) + (":" if number else "-") for number, width in enumerate(widths))
    return [lines[0], f"|{rule}|", *lines[1:]]
