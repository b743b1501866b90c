"""What the benchmarks share: data, clocks, rounds that take turns, and the files that they write."""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Self, TypeVar

import torch

from redwood.core.errors import DataError
from redwood.settings.data.catalog import load_dataset
from redwood.settings.data.dataset import Dataset
from redwood.settings.scores.results import installed_versions

RESULTS = Path(__file__).parent / "results"

Outcome = TypeVar("Outcome")


class Seconds(NamedTuple):
    """Elapsed time, or a point in time.

    Attributes:
        wall: Seconds on the clock on the wall.
        cpu: Seconds of the processor that this process took; other processes on the machine hardly change them.
    """

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Self:
        """This moment."""
        return cls(time.perf_counter(), time.process_time())

    def since(self, start: "Seconds") -> "Seconds":
        """The time from `start` to this moment."""
        return Seconds(self.wall - start.wall, self.cpu - start.cpu)

    def plus(self, other: "Seconds") -> "Seconds":
        """The sum of two spans of time."""
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)

    def each(self, n: int) -> "Seconds":
        """The n-th part."""
        return Seconds(self.wall / n, self.cpu / n)


def resident_bytes() -> int:
    """Memory of this process that is in RAM (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def load_images(data_dir: str) -> Dataset:
    """Fashion-MNIST from `data_dir`, or random bytes of the same shapes, which take the same time."""
    try:
        return load_dataset("fashion_mnist", Path(data_dir), seed=0, image_size=0)
    except DataError:
        return random_images(60_000, 10_000)


def random_images(n_train: int, n_test: int) -> Dataset:
    """Random images (n, 1, 28, 28) of 10 classes."""
    random = torch.Generator().manual_seed(0)
    x, x_test = (torch.randint(0, 256, (n, 1, 28, 28), dtype=torch.uint8, generator=random) for n in (n_train, n_test))
    y, y_test = torch.arange(n_train) % 10, torch.arange(n_test) % 10
    return Dataset("random images", x, y, x_test, y_test, max_value=255.0)


def take_turns(variants: Mapping[str, Callable[[], Outcome]], rounds: int) -> dict[str, list[Outcome]]:
    """Run all variants once in each round, in rotating order, so that none always has the quiet moments.

    Args:
        variants: What to run, by name.
        rounds: How often; an untimed round comes first, in which libraries set themselves up.

    Returns:
        What each variant returned, round by round.
    """
    names = list(variants)
    outcome: dict[str, list[Outcome]] = {name: [] for name in names}
    for number in range(-1, rounds):
        for position in range(len(names)):
            name = names[(position + number) % len(names)]
            result = variants[name]()
            if number >= 0:
                outcome[name].append(result)
    return outcome


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median over rounds of the ratio of two measurements of the same round."""
    return median(a / b for a, b in zip(numerators, denominators, strict=True))


def environment(**more: Any) -> dict[str, Any]:
    """The software, the date and the kind of machine."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "versions": installed_versions() | more,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s), no GPU used",
    }


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as a table."""
    columns = list(rows[0])
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(_cell(row[column]) for column in columns) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)


def write(name: str, content: Mapping[str, Any], text: str) -> None:
    """Write `results/<name>.json` and `results/<name>.md`, and print the latter."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    (RESULTS / f"{name}.md").write_text(text + "\n")
    print(text)
