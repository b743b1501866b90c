"""Does online replay stay as fast and as small as it was? Per-step time and memory over 5,000 buffer updates.

The stream is random images, 32 a step, each step of which updates a reservoir of 500 and replays 32.

Run: python benchmarks/flatness.py [--steps 5000]. Writes benchmarks/results/flatness.*.
"""

import argparse
from itertools import pairwise
from statistics import median
from typing import Any

import avalanche_runs
import bare
import torch
from clocked import RUN_OPTIONS, ClockedRehearsal, use_one_thread
from common import Seconds, environment, markdown_table, random_images, resident_bytes, write

from redwood.methods.networks import build_network
from redwood.methods.training.step import Step
from redwood.settings.data.dataset import Dataset
from redwood.settings.tree import OnlineClassIncrementalSetting

BATCH, BUFFER, WINDOW = 32, 500, 500
# Bars: the last steps may take this much longer than the first, and all of them may add so much memory.
SLOWER, GROWTH_MIB = 1.05, 16


class Watched(ClockedRehearsal):
    """Rehearsal that notes its memory every `WINDOW` steps, too."""

    resident: list[int]

    def augment(self, step: Step) -> None:
        """Look at the memory now and then."""
        super().augment(step)
        if sum(map(len, self.steps)) % WINDOW == 0:
            self.resident.append(resident_bytes())


def watch_redwood(data: Dataset) -> dict[str, Any]:
    """Times and memory of redwood."""
    setting = OnlineClassIncrementalSetting(dataset=data, class_order=list(range(10)), batch_size=BATCH)
    method = Watched(model="mlp", lr=bare.LR, buffer_size=BUFFER)
    method.start_clock()
    method.resident = []
    setting.apply(method, **RUN_OPTIONS)  # type: ignore[arg-type]
    steps = [b.since(a) for stamps in method.steps for a, b in pairwise(stamps)]
    return _summary("redwood rehearsal", sum(map(len, method.steps)), steps, method.resident)


def watch_avalanche(data: Dataset) -> dict[str, Any]:
    """Times and memory of Avalanche's online replay."""
    setting = OnlineClassIncrementalSetting(dataset=data, class_order=list(range(10)))
    network = build_network("mlp", setting.observation_space, data.n_classes)
    stamps: list[Seconds] = []
    resident: list[int] = []

    def note(*_: Any) -> None:
        stamps.append(Seconds.now())
        if len(stamps) % WINDOW == 0:
            resident.append(resident_bytes())

    network.register_forward_pre_hook(note)
    assert isinstance(data.x, torch.Tensor)
    avalanche_runs.train(network, data.x, data.y, BATCH, replay="batch", buffer_size=BUFFER, nb_tasks=5)
    steps = [b.since(a) for a, b in pairwise(stamps)]
    return _summary("Avalanche online Replay", len(stamps), steps, resident)


def _summary(name: str, n_steps: int, steps: list[Seconds], memory: list[int]) -> dict[str, Any]:
    first, last = steps[:WINDOW], steps[-WINDOW:]
    row: dict[str, Any] = {"variant": name, "steps": n_steps}
    for clock in Seconds._fields:
        early, late = (median(getattr(s, clock) for s in part) for part in (first, last))
        row |= {
            f"first {WINDOW} ({clock}, us)": early * 1e6,
            f"last {WINDOW} ({clock}, us)": late * 1e6,
            f"last / first ({clock})": late / early,
        }
    row[f"RSS growth after step {WINDOW} (MiB)"] = (memory[-1] - memory[0]) / 2**20
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5000)
    options = parser.parse_args()
    use_one_thread()
    data = random_images(options.steps * BATCH, 100)
    rows = [watch_redwood(data)]
    ratio, growth = rows[0]["last / first (cpu)"], rows[0][f"RSS growth after step {WINDOW} (MiB)"]
    flat = "flat" if ratio <= SLOWER and growth <= GROWTH_MIB else "NOT flat"
    verdict = f"Redwood is {flat}: bars are last / first <= {SLOWER} (CPU time) and growth <= {GROWTH_MIB} MiB."
    avalanche = avalanche_runs.version()
    if avalanche is not None:
        rows.append(watch_avalanche(data))
    else:
        verdict += "\n\nAvalanche cannot be imported here, so it was not measured."
    content = {**environment(avalanche=avalanche or "not installed"), "rows": rows, "verdict": verdict}
    write("flatness", content, f"{markdown_table(rows)}\n\n{verdict}")


if __name__ == "__main__":
    main()
