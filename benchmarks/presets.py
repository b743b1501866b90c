"""Published cells whose data set is at hand, run by their presets: what is reached, against target and tolerance.

The presets that name MNIST are run, which `--data_dir` has to hold (the four idx files). `experiments/presets` keeps
what was reached: copy the figures into the files after a run; tests/experiments/presets compares them.

With `--bare`, two of them are bare torch loops instead (`presets_bare.py`): do both reach the same?

Run: python benchmarks/presets.py --data_dir DIR [--only si/mnist-task ...] [--seeds 3] [--bare].
Writes benchmarks/results/presets.*; what is not run keeps its earlier figures.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from clocked import use_one_thread
from common import RESULTS, environment, markdown_table, write
from presets_bare import LOOPS

from redwood.experiments.command_line.config_file import as_arguments
from redwood.experiments.command_line.options import parse_options
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.presets.catalog import Preset, Reached, load_presets
from redwood.settings.data.catalog import load_dataset

DATASET = "mnist"
PARTS = ("rows", "bare")


def run(preset: Preset, seed: int, data_dir: str) -> float:
    """The metric of one run, in percent."""
    arguments = as_arguments({**preset.options, "data_dir": data_dir, "seed": seed})
    options = parse_options(Pair(preset.setting, preset.method), arguments)
    with tempfile.TemporaryDirectory() as folder:
        results = options.setting.apply(options.method, run_dir=f"{folder}/run", quiet=True)
    value = results.metrics[preset.metric]
    assert value is not None
    return 100 * value


def row(preset: Preset, values: list[float], minutes: float) -> dict[str, Any]:
    """What was reached, in the words of the preset."""
    reached = Reached(round(mean(values), 2), round(stdev(values), 2) if len(values) > 1 else 0.0, len(values))
    found = Preset(**{**vars(preset), "reached": reached})
    return {
        "preset": preset.name,
        "target": f"{preset.target:g} +- {preset.tolerance:g}",
        "reached": f"{reached.mean:.2f} +- {reached.deviation:.2f}",
        "seeds": reached.seeds,
        "difference": f"{reached.mean - preset.target:+.2f}",
        "met": "yes" if found.is_met else "no",
        "minutes a run": f"{minutes:.1f}",
        "values": [round(value, 2) for value in values],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    presets = {name: preset for name, preset in load_presets().items() if DATASET in name}
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--only", nargs="*", choices=presets, default=list(presets))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--bare", action="store_true")
    args = parser.parse_args()
    use_one_thread()
    if args.bare:
        run_bare(args.data_dir, args.seeds)
        return
    for name in args.only:
        start, values = time.perf_counter(), []
        for seed in range(args.seeds):
            values.append(run(presets[name], seed, args.data_dir))
            save(rows=row(presets[name], values, (time.perf_counter() - start) / 60 / len(values)))


def run_bare(data_dir: str, seeds: int) -> None:
    """Run the loops without redwood."""
    data = load_dataset(DATASET, Path(data_dir), seed=0, image_size=0)
    for name, loop in LOOPS.items():
        values = [loop(data, seed) for seed in range(seeds)]
        save(bare={"preset": name, "bare torch": f"{mean(values):.2f} +- {stdev(values):.2f}", "values": values})


def save(**new: dict[str, Any]) -> None:
    """Write the new row of `rows` or of `bare` among the earlier ones."""
    path = RESULTS / "presets.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    for part, one in new.items():
        others = [other for other in content.get(part, []) if other["preset"] != one["preset"]]
        content[part] = sorted([*others, one], key=lambda row: row["preset"])
    tables = [markdown_table([without_values(one) for one in content[part]]) for part in PARTS if content.get(part)]
    text = "\n\n".join(["# Published cells on MNIST, run by their presets", *tables])
    write("presets", {"environment": environment(), **{part: content.get(part, []) for part in PARTS}}, text)


def without_values(one: dict[str, Any]) -> dict[str, Any]:
    """A row as it is shown."""
    return {key: value for key, value in one.items() if key != "values"}


if __name__ == "__main__":
    main()
