"""Tables and verdicts of `overlap.py`."""

from itertools import chain
from statistics import median, quantiles
from typing import Any

from overlap_cases import ASYNC, BATCH, DELAYED_ASYNC, DELAYED_SYNC, IDEAL, LINK, PLAIN, SYNC, Case

# Bars if the host is idle: asynchronous / ideal by number of processes, and hidden share; if it is busy: asynchronous /
# synchronous.
RATIOS, HIDDEN, BUSY = {2: 1.02, 4: 1.04}, 0.9, 1.02
# Bar: share of a step that is waited for, where training takes 1.25 times as long as the exchange.
WAIT, TIMES = 0.01, 1.25

Row = dict[str, Any]


class Measured:
    """What all processes measured of one case.

    Attributes:
        case: The case.
        world: Number of processes.
        times: Milliseconds of each step, the mean over processes, by variant and turn.
        parts: Milliseconds per step of parts of it, mean over processes, by variant and turn.
        timelines: The last spans of the first process, by variant.
    """

    def __init__(self, case: Case, world: int, processes: list[dict[str, list[dict[str, Any]]]]) -> None:
        self.case, self.world = case, world
        self.times: dict[str, list[list[float]]] = {}
        self.parts: dict[str, list[dict[str, float]]] = {}
        for name in case.variants:
            turns = list(zip(*(process[name] for process in processes), strict=True))
            self.times[name] = [_means(*(turn["times"] for turn in same)) for same in turns]
            told = [[turn["parts"] | {"cpu": turn["cpu"]} for turn in same] for same in turns]
            self.parts[name] = [{key: _mean(one[key] for one in same) for key in same[0]} for same in told]
        self.timelines = {name: processes[0][name][-1]["timeline"] for name in case.variants}

    @property
    def label(self) -> str:
        """What was trained."""
        rows = "x".join(map(str, self.case.shape))
        joined = "" if self.case.joins else ", joined by the GPU"
        return f"{self.case.model}, {rows}{joined}, {self.world} processes"

    def step(self, name: str) -> float:
        """The median step of a variant, in milliseconds."""
        return median(chain(*self.times[name]))

    def quartiles(self, name: str) -> tuple[float, float]:
        """The first and the third quartile of the steps of a variant."""
        low, _, high = quantiles(chain(*self.times[name]), n=4)
        return low, high

    def ratio(self, name: str, to: str) -> tuple[float, float, float]:
        """The median over turns of the ratio of the median steps of two variants, and its quartiles."""
        ratios = [median(a) / median(b) for a, b in zip(self.times[name], self.times[to], strict=True)]
        low, middle, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        return low, middle, high

    def part(self, name: str, of: str) -> float | None:
        """The median over turns of a part of a variant's steps, in milliseconds; None if it has no such part."""
        return median(turn[of] for turn in self.parts[name]) if of in self.parts[name][0] else None

    def hidden(self, name: str, blocking: str) -> float:
        """The share of what synchronous rehearsal adds to the ideal that asynchronous rehearsal does not."""
        sync, ideal = self.step(blocking), self.step(IDEAL)
        return (sync - self.step(name)) / (sync - ideal)


def main_table(found: Measured) -> list[Row]:
    """One row per variant."""
    rows = []
    for name in found.case.variants:
        low, high = found.quartiles(name)
        first, ratio, third = found.ratio(name, IDEAL)
        rows.append(
            {
                "variant": name,
                "step (ms)": f"{found.step(name):.2f}",
                "quartiles": f"{low:.2f} to {high:.2f}",
                "/ ideal": f"{ratio:.3f}",
                "quartiles over turns": f"{first:.3f} to {third:.3f}",
                "CPU (ms)": f"{found.part(name, 'cpu'):.2f}",
                **{
                    f"{part} (ms)": "" if (ms := found.part(name, part)) is None else f"{ms:.3f}"
                    for part in ("calls", "wait", "merge", "insert", "counts", "plan", "gather", "exchange")
                },
            }
        )
    return rows


def curve_table(found: list[Measured], over: str) -> list[Row]:
    """One row per training time or delay."""
    rows = []
    for one in found:
        names = (SYNC, ASYNC) if SYNC in one.case.variants else (DELAYED_SYNC, DELAYED_ASYNC)
        ideal, sync, late = (one.step(name) for name in (IDEAL, *names))
        wait = one.part(names[1], "wait") or 0.0
        rows.append(
            {
                "training (ms)": one.case.train,
                "delay (ms)": one.case.variants[names[1]].delay,
                "rehearsal (ms)": rehearsal_time(one, names[1]),
                "ideal (ms)": ideal,
                "synchronous (ms)": sync,
                "asynchronous (ms)": late,
                "asynchronous / ideal": one.ratio(names[1], IDEAL)[1],
                "waited (ms)": wait,
                "waited / step": wait / late,
            }
        )
    return sorted(rows, key=lambda row: row[over])


def rehearsal_time(one: Measured, name: str) -> float:
    """Milliseconds per step that the work in the background takes."""
    return sum(one.part(name, part) or 0.0 for part in ("insert", "counts", "plan", "gather", "exchange"))


def replay_table(found: list[Measured]) -> list[Row]:
    """Rows by representatives."""
    return [
        {
            "model": one.case.model,
            "r": one.case.replay,
            "(b + r) / b": (BATCH + one.case.replay) / BATCH,
            "plain b + r / plain b": one.ratio(IDEAL, PLAIN)[1],
            "asynchronous / plain b": one.ratio(ASYNC, PLAIN)[1],
            "asynchronous / plain b + r": one.ratio(ASYNC, IDEAL)[1],
        }
        for one in found
    ]


def main_verdicts(found: Measured) -> list[str]:
    """What one table says of the bars."""
    verdicts = []
    for name, blocking in ((ASYNC, SYNC), (DELAYED_ASYNC, DELAYED_SYNC)):
        link = "" if name == ASYNC else f", link slowed by {LINK:g} ms"
        if found.case.model == "idle host":
            ratio, hidden, bar = found.ratio(name, IDEAL)[1], found.hidden(name, blocking), RATIOS[found.world]
            verdicts.append(
                f"{found.label}{link}: asynchronous / ideal {ratio:.3f} (bar {bar}: {_reached(ratio <= bar)}); "
                f"hidden share {hidden:.2f} (bar {HIDDEN}: {_reached(hidden >= HIDDEN)})."
            )
        else:
            ratio = found.ratio(name, blocking)[1]
            verdicts.append(
                f"{found.label}{link}: asynchronous / synchronous {ratio:.3f} "
                f"(bar {BUSY}: {_reached(ratio <= BUSY)}); asynchronous / ideal {found.ratio(name, IDEAL)[1]:.3f}."
            )
    return verdicts


def curve_verdict(rows: list[Row], over: str) -> str:
    """Whether nothing is waited for where training takes long enough."""
    covered = [row for row in rows if row["training (ms)"] >= TIMES * row["rehearsal (ms)"]]
    if not covered:
        return f"Over the {over}: training takes {TIMES} times as long as the exchange nowhere."
    wait = max(row["waited / step"] for row in covered)
    ratio = max(row["asynchronous / ideal"] for row in covered)
    return (
        f"Over the {over}, {len(covered)} points where training takes at least {TIMES} times as long as the work in "
        f"the background: at most {100 * wait:.2f} % of a step is waited for (bar {100 * WAIT:.0f} %: "
        f"{_reached(wait <= WAIT)}); asynchronous / ideal at most {ratio:.3f}."
    )


def _reached(is_reached: bool) -> str:
    return "reached" if is_reached else "missed"


def _mean(values: Any) -> float:
    listed = list(values)
    return float(sum(listed) / len(listed))


def _means(*series: list[float]) -> list[float]:
    return [_mean(same) for same in zip(*series, strict=True)]
