"""What counting FLOPs by use costs: two checkouts side by side, the older of which counts training steps alone.

Each process imports one checkout, warms up, and counts the calls of Python functions in a run on digits. Calls are the
same each time; processor seconds of such short runs differ by a third where other programs run beside.

Run: python benchmarks/flop_counting.py OLD_CHECKOUT. Writes benchmarks/results/flop_counting.{json,md}.
"""

import argparse
import json
from itertools import product
from pathlib import Path

from common import environment, markdown_table, write
from versions import HERE, METHODS, child_cpu

RUN = """
import cProfile, json, pstats, sys, torch
from redwood.methods import get_method
from redwood.settings import get_setting
torch.set_num_threads(1)

def run(method, held_out, passes):
    setting = get_setting("class_incremental")(dataset="digits", passes=passes, validation=held_out)
    setting.apply(get_method(method)(), quiet=True, accelerator="cpu")

def calls(method, held_out, passes):
    run(method, held_out, 1)
    profile = cProfile.Profile()
    profile.runcall(run, method, held_out, passes)
    return pstats.Stats(profile).total_calls

print([calls(*case) for case in json.loads(sys.argv[1])])
"""
CASES = tuple(product(METHODS, (0.0, 0.1), (1, 10)))  # method, share of samples held out, passes


def calls_of_runs(checkout: Path) -> list[int]:
    """Function calls of the runs of `CASES`."""
    found: list[int] = json.loads(child_cpu(["-c", RUN, json.dumps(CASES)], checkout)[1].splitlines()[-1])
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("old", type=Path)
    old, new = calls_of_runs(parser.parse_args().old.resolve()), calls_of_runs(HERE)
    rows = [
        dict(zip(("method", "held out", "passes"), case, strict=True))
        | {"old calls": before, "new calls": now, "new / old": now / before}
        for case, before, now in zip(CASES, old, new, strict=True)
    ]
    write("flop_counting", environment() | {"rows": rows}, markdown_table(rows))


if __name__ == "__main__":
    main()
