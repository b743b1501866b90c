"""What becomes of `--resume` where files of the run directory are damaged, another run's, or a stranger's.

The cases are those of tests/cli/foreign_cases.py. Then random bits of checkpoints are flipped, and a payload is planted
in each field of each file.

Run: python benchmarks/foreign_files.py [--flips N]. Writes benchmarks/results/foreign_files.{json,md}.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from common import environment, markdown_table, write

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.cli.foreign_cases import all_cases
from tests.cli.foreign_files import BOUNDARY, INSIDE, Bench, Trap, call, outcome

from redwood.core.errors import RedwoodError
from redwood.engine.checkpoints import read_checkpoint, write_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=1000, help="bits flipped in each checkpoint, one at a time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        bench = Bench(base / "bench").build()
        rows = []
        for number, case in enumerate(all_cases()):
            fell_short = outcome(case, bench, base / f"case{number}")
            shutil.rmtree(base / f"case{number}")
            end = "right results" if case.says is None else "one sentence, exit code 2, folder unchanged"
            rows.append({"case": case.name, "end": fell_short or end})
        kept = sum(row["end"].startswith(("right results", "one sentence")) for row in rows)
        told = {name: flips_told(bench.stopped / name, base / "flipped", options.flips) for name in (BOUNDARY, INSIDE)}
        planted, executed = payloads(bench, base / "planted")
    verdicts = [
        f"{kept} of {len(rows)} cases ended in one sentence with exit code 2 and the folder unchanged, or in the right "
        "results.",
        *(f"{name}: {n} of {options.flips} flipped bits were told." for name, n in told.items()),
        f"{executed} of {planted} planted payloads were executed.",
    ]
    text = ["\n".join(f"- {verdict}" for verdict in verdicts), markdown_table(rows)]
    write("foreign_files", {**environment(), "verdicts": verdicts, "cases": rows}, "\n\n".join(text))


def flips_told(source: Path, path: Path, n: int) -> int:
    """How many of `n` random bits of a checkpoint are noticed when it is read."""
    whole, choice, told = source.read_bytes(), random.Random(0), 0
    for _ in range(n):
        damaged = bytearray(whole)
        damaged[choice.randrange(len(whole))] ^= 1 << choice.randrange(8)
        path.write_bytes(damaged)
        try:
            read_checkpoint(path, "start anew")
        except RedwoodError:
            told += 1
    return told


def payloads(bench: Bench, folder: Path) -> tuple[int, int]:
    """Plant a payload in each field of each file of a run and of a comparison, and resume it.

    Returns:
        How many were planted, and how many of them were executed.
    """
    planted = executed = 0
    for name in (BOUNDARY, INSIDE):
        for path in fields(read_checkpoint(bench.stopped / name, "")):
            for save in (torch.save, write_checkpoint):
                shutil.copytree(bench.stopped, folder / "run")
                state = read_checkpoint(folder / "run" / name, "")
                plant(state, path, Trap(folder / "executed"))
                save(state, folder / "run" / name)
                executed += resume(folder)
                planted += 1
    texts = {"config.yaml": "stopped", "results.json": "whole", "metrics.csv": "stopped", "comparison.yaml": "compared"}
    for name, base in texts.items():
        lines = (bench.base / base / name).read_text().splitlines()
        for number, line in enumerate(lines):
            shutil.copytree(bench.base / base, folder / "run")
            payload = f"!!python/object/apply:os.mkdir ['{folder / 'executed'}']"
            lines[number] = f"{line.partition(':')[0]}: {payload}"
            (folder / "run" / name).write_text("\n".join(lines))
            lines[number] = line
            executed += resume(folder)
            planted += 1
    return planted, executed


def resume(folder: Path) -> bool:
    """Whether resuming the run in `folder` executes the payload; the run is removed."""
    call(["--resume", str(folder / "run"), *(["--jobs", "1"] if (folder / "run" / "comparison.yaml").exists() else [])])
    shutil.rmtree(folder / "run")
    done = (folder / "executed").exists()
    if done:
        (folder / "executed").rmdir()
    return done


def fields(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the fields of a checkpoint are: of a list, its first entry stands for all."""
    if path:
        yield path
    if isinstance(value, list | tuple):
        value = dict(enumerate(value[:1]))
    for key, entry in value.items() if isinstance(value, dict) else ():
        yield from fields(entry, (*path, key))


def plant(state: Any, path: tuple[Any, ...], trap: Trap) -> None:
    """Put the trap in the place of a field; tuples on the way become lists."""
    for key in path[:-1]:
        if isinstance(state[key], tuple):
            state[key] = list(state[key])
        state = state[key]
    state[path[-1]] = trap


if __name__ == "__main__":
    main()
