"""The costs of rehearsal: times, bytes, and which parts of a step overlap."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

# Number of spans kept for a picture of the last steps.
KEPT = 120
PARTS = ("step", "wait", "insert", "counts", "plan", "gather", "exchange")


class Span(NamedTuple):
    """The time that a part of a step took.

    Attributes:
        name: Name of the part.
        start: Its start, in seconds of `time.perf_counter`.
        end: Its end.
    """

    name: str
    start: float
    end: float


class Profiler:
    """Sums up the time of each part of a step and the bytes sent, and keeps the spans of the last steps.

    `wait` is the time that the training step waited for, and so all that rehearsal adds to its time. `insert`,
    `counts`, `plan`, `gather` and `exchange` happen meanwhile. `step` is the time from one step to the next.

    Attributes:
        seconds: Time that each part took so far.
        n_bytes: Bytes of rows `sent` to and `received` from other workers, and of `counts` sent to each of them.
        steps: Steps so far.
        drawn: Number of samples that this worker replayed.
        spans: The last parts of steps.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.n_bytes = {"sent": 0, "received": 0, "counts": 0}
        self.spans: deque[Span] = deque(maxlen=KEPT)
        self.steps = 0
        self.drawn = 0
        self._step_began: float | None = None

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Add the time of the body to a part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, start, time.perf_counter())

    def add(self, name: str, start: float, end: float) -> None:
        """Add a span of time to a part."""
        self.seconds[name] += end - start
        self.spans.append(Span(name, start, end))

    def step_begins(self) -> None:
        """A training step begins, and the step before ends."""
        now = time.perf_counter()
        if self._step_began is not None:
            self.add("step", self._step_began, now)
        self._step_began = now
        self.steps += 1

    def pause(self) -> None:
        """Training stops for a while; the time until it continues is no part of a step."""
        self._step_began = None

    def count(self, **n_bytes: int) -> None:
        """Add numbers of bytes by kind."""
        for name, n in n_bytes.items():
            self.n_bytes[name] += n

    def costs(self) -> dict[str, float]:
        """Milliseconds of each part and bytes per step, replayed samples per step, and the number of steps."""
        steps = max(1, self.steps)
        times = {f"{name}_ms": 1e3 * seconds / steps for name, seconds in self.seconds.items()}
        n_bytes = {f"bytes_{name}": n / steps for name, n in self.n_bytes.items()}
        return times | n_bytes | {"replayed": self.drawn / steps, "steps": self.steps}

    def timeline(self) -> list[tuple[str, float, float]]:
        """The last spans: name, start and end in milliseconds from the start of the first one."""
        spans = sorted(self.spans, key=lambda span: span.start)
        zero = spans[0].start if spans else 0.0
        return [(name, 1e3 * (start - zero), 1e3 * (end - zero)) for name, start, end in spans]
