"""What counting FLOPs by use costs: two checkouts side by side, the older of which counts training steps alone.

Each process imports one checkout, warms up, and measures the processor seconds of all runs, on digits. The checkouts
take turns, and the median ratio over rounds is reported.

Run: python benchmarks/flop_counting.py OLD_CHECKOUT [--rounds 9]. Writes benchmarks/results/flop_counting.{json,md}.
"""

import argparse
import json
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

from common import environment, markdown_table, median_ratio, take_turns, write
from versions import HERE, METHODS, child_cpu

RUN = """
import json, sys, time, torch
from redwood.methods import get_method
from redwood.settings import get_setting
torch.set_num_threads(1)

def run(method, held_out, passes):
    setting = get_setting("class_incremental")(dataset="digits", passes=passes, validation=held_out)
    start = time.process_time()
    setting.apply(get_method(method)(), quiet=True, accelerator="cpu")
    return time.process_time() - start

cases = json.loads(sys.argv[1])
for method, held_out, _ in cases:
    run(method, held_out, 1)
print([run(*case) for case in cases])
"""
CASES = tuple(product(METHODS, (0.0, 0.1), (1, 10)))  # method, share of samples held out, passes


def run_seconds(checkout: Path) -> list[float]:
    """Processor seconds of the runs of `CASES`, as one process measured them."""
    found: list[float] = json.loads(child_cpu(["-c", RUN, json.dumps(CASES)], checkout)[1].splitlines()[-1])
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("old", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    checkouts = {"old": chosen.old.resolve(), "new": HERE}
    times = take_turns({which: partial(run_seconds, path) for which, path in checkouts.items()}, chosen.rounds)
    rows = []
    for case, old, new in zip(CASES, zip(*times["old"], strict=True), zip(*times["new"], strict=True), strict=True):
        figures = {"old CPU s": median(old), "new CPU s": median(new), "new / old": median_ratio(new, old)}
        rows.append(dict(zip(("method", "held out", "passes"), case, strict=True)) | figures)
        print(rows[-1], flush=True)
    write("flop_counting", environment() | {"rounds": chosen.rounds, "rows": rows}, markdown_table(rows))


if __name__ == "__main__":
    main()
