"""Signals to runs of several processes: two asynchronous workers, and a comparison in a pool of processes.

Each run gets one signal at a random moment and is resumed; then it is compared with the run that got none. Results are
also compared between --num_workers 0 and 2, and between --jobs 1 and 2. Other work on the machine moves the moments.

Run: python benchmarks/kill_several.py [--each N]. Writes benchmarks/results/kill_several.{json,md}.
"""

import argparse
import os
import shutil
import signal
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import torch
from common import environment, markdown_table, write
from kill_runs import SHORT, row_of, whole
from tests.cli.kill_runs import Place, differences, differences_of_several, kill_and_resume
from tests.samples import few_digits

WORKERS = ["--setting", "class_incremental", "--method", "async_rehearsal", "--workers", "2", "--passes", "3"]
POOL = ["--setting", "class_incremental", "--method", "rehearsal,ewc", "--seeds", "2", "--passes", "3"]
EXPECTED = ("results: config", "files: log.txt")  # the option itself, and the log that a run in a pool has
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# What gets a signal: the command, the processes to choose from, the signals to choose from.
CASES: dict[str, tuple[list[str], tuple[str, ...], tuple[signal.Signals, ...]]] = {
    "two async workers, killed": (WORKERS, ("main", "worker", "group"), (signal.SIGKILL,)),
    "two async workers, signals to a worker": (WORKERS, ("worker",), SIGNALS),
    "comparison in a pool, killed": ([*POOL, "--jobs", "2"], ("main", "group"), (signal.SIGKILL,)),
    "comparison in a pool, a process of it killed": ([*POOL, "--jobs", "2"], ("worker",), (signal.SIGKILL,)),
    "comparison in a pool, signals to a process of it": ([*POOL, "--jobs", "2"], ("worker",), SIGNALS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=20, help="how many runs of each case")
    each = parser.parse_args().each
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for number, case in enumerate(CASES):
            rows += killed_rows(Path(name) / str(number), case, each)
            report(rows, each)
        rows += equal_rows(Path(name), each)
    report(rows, each)


def killed_rows(folder: Path, case: str, each: int) -> list[dict[str, Any]]:
    """What became of the runs of one case."""
    arguments, whom, signals = CASES[case]
    run, seconds = whole(folder / "whole", arguments)
    rows = []
    for seed in range(each):
        who, sent = whom[seed % len(whom)], signals[seed % len(signals)]
        place = folder / str(seed)
        killed = kill_and_resume(place, [*arguments, *SHORT], run, seconds, seed, who, sent=sent)
        row = row_of(case, killed)
        rows.append({"case": row.pop("pair"), "signal": sent.name, **row})
        print(rows[-1], *([killed.log] if killed.left or killed.differs else []), flush=True)
        shutil.rmtree(place)
    return rows


def equal_rows(folder: Path, each: int) -> list[dict[str, Any]]:
    """Runs that differ in what must not change a result."""
    images = image_folder(folder / "images")
    decoded = ["--setting", "class_incremental", "--method", "rehearsal", "--passes", "3", "--dataset", str(images)]
    decoded += ["--image_size", "8"]
    rows = []
    for case, arguments, option, values, compare in (
        ("images decoded by other processes", decoded, "--num_workers", (0, 2), differences),
        ("comparison, one run or two at once", POOL, "--jobs", (1, 2), differences_of_several),
    ):
        for seed in range(each):
            places = [Place(folder / f"{option[2:]}-{seed}-{value}", "fork") for value in values]
            for place, value in zip(places, values, strict=True):
                words = [*arguments, *SHORT, "--seed", str(seed), option, str(value), "--run_dir", str(place.run)]
                assert place.complete(*words) == 0, place.log.read_text()
            found = [text for text in compare(*(place.run for place in places)) if not text.endswith(EXPECTED)]
            rows.append({"case": f"{case} ({option} {values[0]} and {values[1]})", "seed": seed, **differing(found)})
            print(rows[-1], flush=True)
    return rows


def differing(found: list[str]) -> dict[str, str]:
    return {"left behind": "nothing", "differs from the whole run in": "; ".join(found) or "nothing"}


def image_folder(folder: Path) -> Path:
    """Digits of four classes as files."""
    from PIL import Image

    data, random = few_digits(n_train=120, n_test=10), Random(0)
    for number, (image, label) in enumerate(zip(data.x, data.y.tolist(), strict=True)):
        if label < 4:
            path = folder / f"class {label}" / f"{number:03d}-{random.randrange(10)}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy() * 15).save(path)
    return folder


def report(rows: list[dict[str, Any]], each: int) -> None:
    """Write what is known so far."""
    verdicts = []
    for case in dict.fromkeys(row["case"] for row in rows):
        own = [row for row in rows if row["case"] == case]
        equal = sum(row["differs from the whole run in"] == "nothing" for row in own)
        clean = sum(row["left behind"] == "nothing" for row in own)
        verdicts.append(f"{case}: {equal} of {len(own)} equal, {clean} of {len(own)} leave nothing behind.")
    text = ["\n".join(f"- {verdict}" for verdict in verdicts), markdown_table([row for row in rows if "signal" in row])]
    facts = {**environment(), "each": each, "load": os.getloadavg()}
    write("kill_several", {**facts, "runs": rows, "verdicts": verdicts}, "\n\n".join(text))


if __name__ == "__main__":
    main()
