"""What the command line takes to start, beside importing the libraries that it is built on.

The demand: with a pair chosen, at most one second of processor time more than `import torch, pytorch_lightning`. Each
variant is a process of its own; they take turns, and medians over rounds are compared.

Run: OMP_NUM_THREADS=1 python benchmarks/startup.py [--rounds 9]. Writes benchmarks/results/startup.{json,md}.
"""

import argparse
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median

from common import Seconds, environment, markdown_table, take_turns, write

CLI = str(Path(__file__).resolve().parents[1] / "cli.py")
LIBRARIES = "import torch, pytorch_lightning"
PAIR = ["--setting", "class_incremental", "--method", "rehearsal"]
VARIANTS = {
    "python alone": ["-c", "pass"],
    LIBRARIES: ["-c", LIBRARIES],
    "--version": [CLI, "--version"],
    "--help": [CLI, "--help"],
    "--list": [CLI, "--list"],
    "pair --help": [CLI, *PAIR, "--help"],
    "pair, wrong option": [CLI, *PAIR, "--lrr", "1"],
}
LIMIT_S = 1.0


def spent(arguments: list[str]) -> Seconds:
    """The time that a Python process takes from its start to its end."""
    start, before = Seconds.now(), os.times()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return Seconds(Seconds.now().since(start).wall, cpu)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    times = take_turns({name: partial(spent, arguments) for name, arguments in VARIANTS.items()}, rounds)
    base = median(seconds.cpu for seconds in times[LIBRARIES])
    rows = [
        {
            "variant": name,
            "CPU s": median(seconds.cpu for seconds in measured),
            "wall s": median(seconds.wall for seconds in measured),
            "CPU s beside the libraries": median(seconds.cpu for seconds in measured) - base,
        }
        for name, measured in times.items()
    ]
    (beside,) = [row["CPU s beside the libraries"] for row in rows if row["variant"] == "pair --help"]
    content = environment() | {"rounds": rounds, "limit": LIMIT_S, "met": beside <= LIMIT_S, "rows": rows}
    verdict = f"With a pair, {beside:.2f} s beside the libraries; the limit is {LIMIT_S:g} s."
    write("startup", content, f"{markdown_table(rows)}\n\n{verdict}\nMedians of {rounds} interleaved rounds.")


if __name__ == "__main__":
    main()
