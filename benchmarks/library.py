"""A module library whose writers are killed by SIGKILL at random moments, and what listing and loading cost.

Two processes add networks of three modules at once, and are killed; two more start over, as resumed runs do.
Then libraries of 10, 100 and 1,000 modules are opened, listed, loaded and added to.

Run: python benchmarks/library.py [--kills N]. Writes benchmarks/results/library.{json,md}.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import environment, markdown_table, write

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.branches.modular.library_writers import MODULES_A_NETWORK, Writers, problems, weights

from redwood.branches.modular.library import ModuleLibrary

SIZES = (10, 100, 1000)
ENTRIES = 16_384  # 64 KiB in each module whose times are taken
LONGEST_S = 0.3
ROUNDS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how often both writers are killed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        kills, verdicts = kill_writers(Path(name) / "killed", options.kills)
        times = [time_library(Path(name) / str(size), size) for size in SIZES]
    text = [
        "Two writers at once, both killed at a random moment of the first "
        f"{LONGEST_S * 1000:.0f} ms after their first network; the next two start over.",
        "\n".join(f"- {verdict}" for verdict in verdicts),
        markdown_table(kills),
        f"Milliseconds, median of {ROUNDS}; modules of {ENTRIES * 4 // 1024} KiB, {MODULES_A_NETWORK} to a network.",
        markdown_table(times),
    ]
    content = {**environment(), **vars(options), "verdicts": verdicts, "kills": kills, "times_ms": times}
    write("library", content, "\n\n".join(text))


def kill_writers(folder: Path, kills: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Kill two writers at once, again and again.

    Returns:
        What was found after each time, and the verdicts.
    """
    moment, writers, rows = random.Random(0), Writers(folder), []
    for number in range(kills):
        left = leftovers(folder)
        writers.start(range(10_000))
        writers.start(range(number * 20, 10_000))
        writers.kill_at_random(moment, LONGEST_S)
        networks, modules = ModuleLibrary(folder).networks(), ModuleLibrary(folder).modules()
        rows.append(
            {
                "kill": number + 1,
                "networks": len(networks),
                "modules": len(modules),
                "announced": len(writers.added),
                "half-written files left": len(leftovers(folder) - left),
                "wrong": "; ".join(problems(folder, writers.added)) or "nothing",
            }
        )
        print(rows[-1], flush=True)
    right = sum(row["wrong"] == "nothing" for row in rows)
    caught = sum(row["half-written files left"] > 0 for row in rows)
    writers.start(range(max(writers.added) + 1))
    writers.join()
    after = problems(folder, writers.added)
    return rows, [
        f"After {right} of {kills} kills every module and network listed is whole and loads, none is listed twice, and "
        "none that a writer had announced is missing.",
        f"{caught} of {kills} kills left a file that was being written; no such file was listed.",
        f"After a writer that started over and ran to its end: {'; '.join(after) or 'nothing'} wrong.",
    ]


def leftovers(folder: Path) -> set[Path]:
    """Temporary files, and tensors without a record."""
    tensors = {path for path in folder.glob("*/*.safetensors") if not path.with_suffix(".json").exists()}
    return tensors | set(folder.glob("**/.*.tmp"))


def time_library(folder: Path, size: int) -> dict[str, Any]:
    """Times of a library of `size` modules, in milliseconds."""
    library = ModuleLibrary(folder)
    keys = [add(library, number) for number in range(size)]
    for first in range(0, size - MODULES_A_NETWORK + 1, MODULES_A_NETWORK):
        library.add_network(
            keys[first : first + MODULES_A_NETWORK],
            model="m",
            inputs={"shape": [4], "dtype": "float32"},
            task={"name": str(first), "classes": [0, 1], "samples": 8},
        )
    return {
        "modules": size,
        "networks": size // MODULES_A_NETWORK,
        "open": milliseconds(lambda _: ModuleLibrary(folder)),
        "list modules": milliseconds(lambda _: library.modules()),
        "list networks": milliseconds(lambda _: library.networks()),
        "load one": milliseconds(lambda turn: library.load(keys[turn])),
        "load all": milliseconds(lambda _: [library.load(key) for key in keys]),
        "add a new one": milliseconds(lambda turn: add(library, size + turn)),
        "add a known one": milliseconds(lambda turn: add(library, turn)),
    }


def add(library: ModuleLibrary, number: int) -> str:
    """Add the module of that number."""
    return library.add_module(weights(number, ENTRIES), role="block", position=0, model="m")


def milliseconds(action: Callable[[int], object]) -> float:
    """The median of several times."""
    times = []
    for turn in range(ROUNDS):
        start = time.perf_counter()
        action(turn)
        times.append(1000 * (time.perf_counter() - start))
    return median(times)


if __name__ == "__main__":
    main()
