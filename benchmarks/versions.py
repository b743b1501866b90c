"""Two checkouts of redwood side by side: processor time of runs and of the command line's start.

Each measurement is a process of its own; the checkouts take turns, and the median ratio over rounds is reported. Only
what both checkouts have is called: `get_setting`, `get_method`, `apply` and the command line.

Run: python benchmarks/versions.py OLD_CHECKOUT [--rounds 9]. Writes benchmarks/results/versions.{json,md}.
"""

import argparse
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median

from common import environment, markdown_table, median_ratio, take_turns, write

HERE = Path(__file__).resolve().parents[1]
# Seconds of processor time of a run: two phases of random images, training and evaluation. The libraries are loaded
# before the clock starts, and a short run has warmed them up.
RUN = """
import sys, time, torch
from redwood.methods import get_method
from redwood.settings import get_setting
from redwood.settings.data.dataset import Dataset
torch.set_num_threads(1)

def data(n):
    g = torch.Generator().manual_seed(0)
    x, t = (torch.randint(0, 256, (k, 1, 28, 28), dtype=torch.uint8, generator=g) for k in (n, 500))
    return Dataset("random images", x, torch.arange(n) % 10, t, torch.arange(500) % 10, max_value=255.0)

def run(n):
    setting = get_setting("class_incremental")(dataset=data(n), nb_tasks=2, batch_size=32)
    start = time.process_time()
    setting.apply(get_method(sys.argv[1])(), quiet=True, accelerator="cpu")
    return time.process_time() - start

run(640)
print(run(6400))
"""
METHODS = ("finetune", "rehearsal")
PAIR = ("--setting", "class_incremental", "--method", "rehearsal")
STARTS = {"--help": ["--help"], "--list": ["--list"], "pair --help": [*PAIR, "--help"]}


def child_cpu(command: list[str], checkout: Path) -> tuple[float, str]:
    """Processor seconds of a process that imports redwood from `checkout`, and what it printed."""
    before = os.times()
    variables = os.environ | {"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, *command], env=variables, cwd=checkout, capture_output=True, text=True, check=True
    )
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system, done.stdout


def run_seconds(method: str, checkout: Path) -> float:
    """Processor seconds of a run, as the process measured it."""
    return float(child_cpu(["-c", RUN, method], checkout)[1].splitlines()[-1])


def start_seconds(arguments: list[str], checkout: Path) -> float:
    """Processor seconds of a call of the command line."""
    return child_cpu([str(checkout / "cli.py"), *arguments], checkout)[0]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("old", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    checkouts = {"old": chosen.old.resolve(), "new": HERE}
    rows = []
    measured = {f"run of {name}": partial(run_seconds, name) for name in METHODS}
    measured |= {name: partial(start_seconds, arguments) for name, arguments in STARTS.items()}
    for name, measure in measured.items():
        times = take_turns({which: partial(measure, path) for which, path in checkouts.items()}, chosen.rounds)
        ratio = median_ratio(times["new"], times["old"])
        rows.append(
            {"what": name, "old CPU s": median(times["old"]), "new CPU s": median(times["new"]), "new / old": ratio}
        )
        print(rows[-1], flush=True)
    write("versions", environment() | {"rounds": chosen.rounds, "rows": rows}, markdown_table(rows))


if __name__ == "__main__":
    main()
