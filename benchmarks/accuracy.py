"""Average accuracy of the baselines on digits, 5 tasks of 2 classes, with default options but for those in the table.

EWC is measured at its defaults and with the penalty of its paper.

Run: python benchmarks/accuracy.py [--seeds 5]. Writes benchmarks/results/accuracy.json.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from redwood.methods import get_method
from redwood.settings import get_setting
from redwood.settings.results import installed_versions

AS_PAPER = {"ewc_form": "per_task", "ewc_lambda": 100.0, "importance_scale": "none"}
RUNS: list[tuple[str, str, dict[str, Any]]] = [
    ("class_incremental", "random", {}),
    ("class_incremental", "finetune", {}),
    ("class_incremental", "ewc", {}),
    ("class_incremental", "ewc", AS_PAPER),
    ("class_incremental", "rehearsal", {"buffer_size": 100}),
    ("class_incremental", "rehearsal", {"buffer_size": 200}),
    ("cumulative", "joint", {}),
    ("task_incremental", "finetune", {}),
    ("task_incremental", "ewc", {}),
    ("task_incremental", "ewc", AS_PAPER),
    ("task_incremental", "rehearsal", {"buffer_size": 100}),
    ("domain_incremental", "finetune", {}),
    ("domain_incremental", "ewc", {}),
    ("domain_incremental", "ewc", AS_PAPER),
    ("domain_incremental", "rehearsal", {"buffer_size": 100}),
    ("online_class_incremental", "rehearsal", {"buffer_size": 100}),
]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    rows = []
    for setting, method, options in RUNS:
        runs = [get_setting(setting)(seed=seed).apply(get_method(method)(**options), quiet=True) for seed in seeds]
        accuracy = [run.objective for run in runs]
        forgetting = [run.metrics["forgetting"] for run in runs]
        rows.append(
            {
                "setting": setting,
                "method": method,
                **options,
                "average_accuracy": round(mean(accuracy), 4),
                "std": round(stdev(accuracy), 4),
                "forgetting": round(mean(f for f in forgetting if f is not None), 4),
                "wall_time_s": round(mean(run.cost.wall_time_s for run in runs), 2),
            }
        )
        print(rows[-1], flush=True)
    content = {"dataset": "digits", "seeds": len(seeds), "versions": installed_versions(), "rows": rows}
    (Path(__file__).parent / "results" / "accuracy.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
