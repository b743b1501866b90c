"""Whether every single bit that is turned in a saved buffer is told when it is loaded.

Run: python benchmarks/shard_bits.py [--flips N]. Writes benchmarks/results/shard_bits.{json,md}.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from common import environment, markdown_table, write

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.buffers.distributed.reshard_helpers import share_stream
from tests.buffers.distributed.shard_bits import flipped, flips
from tests.buffers.helpers import shuffled

from redwood.buffers import RehearsalBuffer
from redwood.buffers.distributed.checkpoint import read_checkpoint, take_snapshot, write_checkpoint

CAPACITY = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=1000, help="how many bits are turned, one at a time")
    parser.add_argument("--seed", type=int, default=0, help="chooses the bits")
    options = parser.parse_args()
    tried, told = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        folder, buffer = Path(name), _buffer()
        share_stream([buffer], shuffled([0] * 30 + [1] * 30 + [2] * 20 + [3] * 10))
        write_checkpoint(take_snapshot(buffer, {"step": torch.tensor(3)}), folder, 0, 1, None)
        sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
        for file, bit in flips(folder, options.flips, options.seed):
            whole = file.read_bytes()
            file.write_bytes(flipped(whole, bit))
            tried[file.name] += 1
            told[file.name] += _is_told(folder)
            file.write_bytes(whole)
        assert not _is_told(folder), "what is whole is loaded"
    rows: list[dict[str, Any]] = [
        {"file": file, "bytes": sizes[file], "bits turned": tried[file], "told": told[file]} for file in sorted(sizes)
    ]
    verdict = (
        f"{sum(told.values())} of {sum(tried.values())} turned bits ended in the sentence that the buffers are damaged."
    )
    text = [
        f"A buffer of {CAPACITY} samples was saved; one bit of its folder was turned at a time before it was loaded.",
        f"- {verdict}",
        markdown_table(rows),
    ]
    write("shard_bits", {**environment(), "files": rows, "verdict": verdict}, "\n\n".join(text))


def _buffer() -> RehearsalBuffer:
    return RehearsalBuffer(CAPACITY, policy="class_balanced", sampler="old_tasks")


def _is_told(folder: Path) -> bool:
    try:
        read_checkpoint(folder, _buffer(), 0, 1)
    except ValueError as error:
        return "are damaged" in str(error)
    return False


if __name__ == "__main__":
    main()
