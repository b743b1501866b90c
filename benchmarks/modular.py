"""Methods that take over modules of earlier tasks, on the CTrL streams over views of digits.

Four checks:

- `streams`: the five short streams, 30 passes, 5 seeds: each method against a network of its own for each task.
- `long`: `s_long`, 100 tasks, 20 passes: parameters, and time and memory of each task.
- `ending`: a run of five tasks against two tasks and then three in another run with the same library.
- `picture`: error against computation on `s_minus`, `results/modular.png`.

The network of `streams` has three hidden layers of 48 units, four modules.

Run: python benchmarks/modular.py [--only streams long ending picture] [--seeds 5].
Writes benchmarks/results/modular.*; what is not run keeps its earlier figures.
"""

import argparse
import json
import math
import resource
import tempfile
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from clocked import RUN_OPTIONS, use_one_thread
from common import RESULTS, environment, markdown_table, resident_bytes, write
from gymnasium.spaces import Box
from torch import nn

from redwood.branches.ctrl.streams import SMinus
from redwood.branches.modular.finetune_from import FinetuneFrom, Independent
from redwood.branches.modular.mntdp import MNTDP, Composable
from redwood.branches.modular.path_search import PathSearch
from redwood.engine.figures.ranking import plot_comparison
from redwood.methods.networks import Scale
from redwood.settings import TaskIncrementalSetting
from redwood.settings.scores.results import Results
from redwood.settings.streams.phase import Phase

STREAMS = ("s_minus", "s_plus", "s_in", "s_out", "s_pl")
PASSES, LONG_PASSES = 30, 20
NETWORK = f"{Path(__file__).resolve()}:four_modules"
PARTS = ("streams", "long", "ending", "picture")

Found = dict[str, Any]


def four_modules(observation_space: Box, n_outputs: int) -> nn.Sequential:
    """Three hidden layers of 48 units with ReLU, and a linear head."""
    width, n_in = 48, math.prod(observation_space.shape)
    features: list[nn.Module] = [nn.Flatten()]
    for _ in range(3):
        features += [nn.Linear(n_in, width), nn.ReLU()]
        n_in = width
    return nn.Sequential(
        OrderedDict(scale=Scale(observation_space), features=nn.Sequential(*features), head=nn.Linear(width, n_outputs))
    )


METHODS: dict[str, Callable[[], PathSearch]] = {
    "independent": partial(Independent, model=NETWORK),
    "finetune_from previous": partial(FinetuneFrom, model=NETWORK, source="previous"),
    "finetune_from relevant": partial(FinetuneFrom, model=NETWORK, source="relevant"),
    "finetune_from all": partial(FinetuneFrom, model=NETWORK, source="all"),
    "mntdp": partial(MNTDP, model=NETWORK),
    "mntdp without margin": partial(MNTDP, model=NETWORK, margin=0.0, confidence=0.5),
    "mntdp stochastic": partial(MNTDP, model=NETWORK, search="stochastic"),
    "composable": partial(Composable, model=NETWORK),
}


def run(stream: str, method: PathSearch, seed: int, **options: Any) -> Results:
    """One run on a stream."""
    setting = TaskIncrementalSetting(**{"stream": stream, "passes": PASSES, "seed": seed} | options)
    return setting.apply(method, **RUN_OPTIONS)


def streams(seeds: int) -> Found:
    """Each method on each short stream."""
    rows, chosen = [], {}
    for stream in STREAMS:
        base: list[Results] = []
        for name, make in METHODS.items():
            methods = [make() for _ in range(seeds)]
            results = [run(stream, method, seed) for seed, method in enumerate(methods)]
            base = base or results
            last = [100 * (found.accuracy_matrix[-1][-1] or 0) for found in results]
            own = [100 * (found.accuracy_matrix[-1][-1] or 0) for found in base]
            average = [100 * found.objective for found in results]
            rows.append(
                {
                    "stream": stream,
                    "method": name,
                    "last task": f"{mean(last):.1f}",
                    "transfer": f"{mean(last) - mean(own):+.1f}",
                    "average": f"{mean(average):.1f} +- {stdev(average):.1f}",
                    "gain": f"{mean(average) - 100 * mean(found.objective for found in base):+.1f}",
                    "forgetting": max(found.metrics["forgetting"] or 0.0 for found in results),
                    "parameters": round(mean(found.cost.parameters for found in results)),
                    "MFLOP": round(mean(sum(map(sum, (found.cost.flops or {}).values())) for found in results) / 1e6),
                }
            )
            # Where the last task comes from, and how many modules it takes over.
            paths = [method.paths[-1] for method in methods]
            chosen[f"{stream}, {name}"] = [f"{path['origin'] or 'new'}: {path['reused']}" for path in paths]
            print(rows[-1], chosen[f"{stream}, {name}"], flush=True)
    return {"rows": rows, "last task": chosen}


class Clocked(MNTDP):
    """Notes the time and the memory of each task, and the time of retrieval."""

    def configure(self, setting: Any) -> None:
        """Start with empty notes."""
        super().configure(setting)
        self.notes: list[dict[str, float]] = []
        self.looking = 0.0

    def propose(self, *args: Any) -> Any:
        """Note how long the choice of candidates takes, which is retrieval."""
        start = time.perf_counter()
        found = super().propose(*args)
        self.looking = time.perf_counter() - start
        return found

    def fit(self, phase: Phase) -> None:
        """Note how long the task takes beside retrieval, by step: tasks differ in size."""
        start, self.looking = time.perf_counter(), 0.0
        super().fit(phase)
        rest = time.perf_counter() - start - self.looking
        self.notes.append(
            {
                "retrieval ms": 1e3 * self.looking,
                "ms a step": 1e3 * rest / phase.steps,
                "memory MB": resident_bytes() / 1e6,
                "networks": len(self.paths),
            }
        )


def long() -> Found:
    """100 tasks: what grows, and what does not."""
    methods = {"independent": METHODS["independent"](), "mntdp": Clocked(model=NETWORK)}
    found = {name: run("s_long", method, 0, passes=LONG_PASSES, eval_tasks="seen") for name, method in methods.items()}
    clocked = methods["mntdp"]
    assert isinstance(clocked, Clocked)
    sizes: list[int] = []
    known: set[str] = set()
    for path in clocked.paths:
        known |= set(path["modules"])
        sizes.append(sum(p.numel() for name in known for p in clocked.modular.library[name].parameters()))
    rows = [
        {
            "tasks": n,
            "parameters": sizes[n - 1],
            "of independent": sizes[n - 1] / (found["independent"].cost.parameters * n / len(clocked.paths)),
            **{
                key: round(mean(note[key] for note in clocked.notes[n - 10 : n]), 2)
                for key in ("ms a step", "retrieval ms", "memory MB")
            },
        }
        for n in (10, 25, 50, 75, 100)
    ]
    summary = [
        {
            "method": name,
            "average": round(100 * results.objective, 1),
            "forgetting": results.metrics["forgetting"],
            "parameters": results.cost.parameters,
            "GFLOP": round(sum(map(sum, (results.cost.flops or {}).values())) / 1e9, 2),
            "seconds": round(results.cost.wall_time_s),
        }
        for name, results in found.items()
    ]
    print(markdown_table(rows), markdown_table(summary), sep="\n", flush=True)
    reused = [path["reused"] for path in clocked.paths]
    return {"rows": rows, "summary": summary, "modules taken over": reused, "peak kB": _peak()}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def ending() -> Found:
    """Two runs with a library against one."""
    rows = []
    for name in ("finetune_from relevant", "mntdp", "mntdp stochastic", "composable"):
        with tempfile.TemporaryDirectory() as folder:
            whole = METHODS[name]()
            expected = run("s_minus", whole, 0)
            methods = [METHODS[name](), METHODS[name]()]
            for method in methods:
                method.library = folder
            run("s_minus", methods[0], 0, nb_tasks=2)
            later = run("s_minus", methods[1], 0, stream=SMinus(first_task=2))
        reused = [[path["reused"] for path in one.paths] for one in (whole, *methods)]
        rows.append(
            {
                "method": name,
                "same accuracies": later.accuracy_matrix[-1] == expected.accuracy_matrix[-1][2:],
                "same choices": reused[0] == reused[1] + reused[2],
                "modules taken over": str(reused[0]),
            }
        )
    print(markdown_table(rows), flush=True)
    return {"rows": rows}


def picture(seeds: int) -> Found:
    """Error against computation."""
    names = [name for name in METHODS if name != "mntdp without margin"]
    runs = [(name, [run("s_minus", METHODS[name](), seed) for seed in range(seeds)]) for name in names]
    plot_comparison(runs, RESULTS / "modular.png")
    return {"methods": names}


def report(found: Found) -> str:
    """The results as a page."""
    lines = ["# Modules of earlier tasks", ""]
    if "streams" in found:
        lines += ["## Short streams", "", markdown_table(found["streams"]["rows"]), ""]
        lines += ["Where the last task comes from, and how many of its four modules are taken over, by seed:", ""]
        lines += [f"- {name}: {', '.join(chosen)}" for name, chosen in found["streams"]["last task"].items()] + [""]
    if "long" in found:
        lines += ["## 100 tasks", "", markdown_table(found["long"]["summary"]), ""]
        lines += ["`mntdp`, means over the ten tasks before:", "", markdown_table(found["long"]["rows"]), ""]
    if "ending" in found:
        lines += ["## Two runs with one library", "", markdown_table(found["ending"]["rows"]), ""]
    if "picture" in found:
        lines += ["![error against computation](modular.png)", ""]
    return "\n".join(lines).rstrip()


def main() -> None:
    """Run the checks that were asked for, and write what is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args()
    use_one_thread()
    warnings.filterwarnings("ignore", message="Task .* held-out samples")
    warnings.filterwarnings("ignore", message="No (task|module)")
    earlier = RESULTS / "modular.json"
    found: Found = json.loads(earlier.read_text()) if earlier.exists() else {}
    checks = {"streams": partial(streams, chosen.seeds), "long": long, "ending": ending}
    checks["picture"] = partial(picture, chosen.seeds)
    for name in chosen.only:
        found[name] = checks[name]()
        found |= environment()
        write("modular", found, report(found))


if __name__ == "__main__":
    main()
