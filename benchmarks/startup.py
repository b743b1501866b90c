"""What starting costs: the command line before it runs anything, a short run, the main job, and a comparison.

The demands:

- `list`, `--help`, the help of a command and a pair that does not apply answer within 0.5 s.
- The help of a pair and errors of its options import its classes, and answer within 4 s.
- The first parse of a pair's options takes at most 0.1 s, beside the imports of its classes.
- A short run takes at most 3.9 times as long as `import torch` on the processor.
- The main job takes at most 1.35 times as long as importing torch and Lightning and training by a bare loop.
- A comparison of 36 short runs takes at most 75 % of the time of an earlier commit (`--before`) on the processor.

Each variant is a process of its own with a warm file cache. Variants take turns, and medians over rounds are compared.
The time on the processor includes that of all processes that a variant has started (Linux).

Run: OMP_NUM_THREADS=1 python benchmarks/startup.py [--before CHECKOUT] [--rounds 3]. Writes
benchmarks/results/startup.{json,md}; `--before` takes the folder of another checkout. It takes 6 minutes.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from bare import TensorReservoir, train
from common import Seconds, environment, markdown_table, median_ratio, take_turns, write
from torch import Tensor, nn

from redwood.methods import Rehearsal
from redwood.settings import ClassIncrementalSetting

HERE = Path(__file__).resolve().parents[1]
LIBRARIES = "import torch, pytorch_lightning"
PAIR = ["--setting", "class_incremental", "--method", "rehearsal"]
COMMANDS = {
    "--version": ["--version"],
    "--help": ["--help"],
    "list": ["list"],
    "predict --help": ["predict", "--help"],
    "pair that does not apply": ["--setting", "continual", "--method", "ewc"],
    "pair --help": [*PAIR, "--help"],
    "pair, unknown option": [*PAIR, "--bad_option", "3"],
    "pair, wrong type": [*PAIR, "--lr", "much"],
    "pair, value out of range": [*PAIR, "--lr", "-1"],
}
SHORT_RUN = [*PAIR, "--passes", "1"]
METHODS = ["--setting", "class_incremental", "--method", "finetune,rehearsal,ewc"]
COMPARISON = [*METHODS, "--seeds", "12", "--passes", "1", "--jobs", "2"]
COMMAND_LIMIT_S, CLASSES_LIMIT_S, SHORT_RUN_LIMIT, MAIN_JOB_LIMIT, COMPARISON_LIMIT = 0.5, 4.0, 3.9, 1.35, 0.75
IMPORT_CLASSES = {"pair --help", "pair, unknown option", "pair, wrong type", "pair, value out of range"}
PARSE_LIMIT_S = 0.1
PARSE = """
from time import process_time

from redwood.experiments.command_line.options import parse_options
from redwood.experiments.command_line.pairs import Pair

pair = Pair("class_incremental", "rehearsal")
pair.load()
start = process_time()
parse_options(pair, ["--lr", "0.1", "--stream", "rotated", "--angles", "0", "30"])
print(process_time() - start)
"""
_PR_SET_CHILD_SUBREAPER = 36


def spent(arguments: Sequence[str], checkout: Path = HERE) -> Seconds:
    """The time that a Python process takes with all its children, in a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        paths = os.pathsep.join([str(checkout / "src"), str(checkout)])
        start, before = Seconds.now(), os.times()
        subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": paths, "WANDB_MODE": "disabled"},
            capture_output=True,
            check=False,
        )
        wall = Seconds.now().since(start).wall
        while _reap():  # a server of processes ends a little later
            pass
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return Seconds(wall, cpu)


def _reap() -> bool:
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        return False
    return True


def command(arguments: Sequence[str], checkout: Path = HERE) -> list[str]:
    """Arguments of Python that run the command line of a checkout."""
    return [str(checkout / "cli.py"), *arguments]


class Scale(nn.Module):
    """From storage dtype to floats in 0..1, as redwood's networks do first."""

    def __init__(self, largest: float) -> None:
        super().__init__()
        self.largest = largest

    def forward(self, x: Tensor) -> Tensor:
        """Scale samples (B, 1, 8, 8)."""
        return x.float() / self.largest


def bare_training() -> Seconds:
    """Training as the main job trains, by a loop on tensors, with its defaults: five tasks, each passed many times."""
    setting, method = ClassIncrementalSetting(), Rehearsal()
    data = setting.dataset.load(setting.data_dir, setting.seed)
    x, y = torch.as_tensor(data.x), torch.as_tensor(data.y)
    pairs = torch.arange(10).split(2)
    tasks = [(x[torch.isin(y, classes)], y[torch.isin(y, classes)]) for classes in pairs]
    layers = [nn.Linear(x[0].numel(), 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)]
    network = nn.Sequential(Scale(data.max_value), nn.Flatten(), *layers)
    memory = TensorReservoir(method.buffer_size, x, y)
    repeated = [task for task in tasks for _ in range(setting.passes)]
    torch.manual_seed(0)
    start = Seconds.now()
    train(network, repeated, setting.batch_size, memory=memory, count_online=True)
    return Seconds.now().since(start)


def measure_commands(rounds: int) -> list[dict[str, Any]]:
    """One row per command line, beside the imports that it does without."""
    variants = {"python alone": ["-c", "pass"], LIBRARIES: ["-c", LIBRARIES]}
    variants |= {name: command(arguments) for name, arguments in COMMANDS.items()}
    times = take_turns({name: partial(spent, arguments) for name, arguments in variants.items()}, rounds)
    limits = {name: CLASSES_LIMIT_S if name in IMPORT_CLASSES else COMMAND_LIMIT_S for name in COMMANDS}
    return [row(name, measured) | {"limit s": limits.get(name)} for name, measured in times.items()]


def row(name: str, measured: Sequence[Seconds]) -> dict[str, Any]:
    """The medians of one variant."""
    return {
        "variant": name,
        "wall s": median(seconds.wall for seconds in measured),
        "CPU s": median(seconds.cpu for seconds in measured),
    }


def measure_parse(rounds: int) -> float:
    """Seconds of the processor for the first parse of a pair's options in a process, once its classes are imported."""
    environment = os.environ | {"PYTHONPATH": str(HERE / "src")}
    runs = (
        subprocess.run([sys.executable, "-c", PARSE], env=environment, capture_output=True, check=True)
        for _ in range(rounds)
    )
    return median(float(done.stdout) for done in runs)


def measure_short_run(rounds: int, before: Path | None) -> tuple[list[dict[str, Any]], Mapping[str, float]]:
    """The rows of a short run, now and before, and of importing torch; and the ratios of the runs to that."""
    variants = {"import torch": partial(spent, ["-c", "import torch"]), "short run": partial(spent, command(SHORT_RUN))}
    if before is not None:
        variants["short run before"] = partial(spent, command(SHORT_RUN, before), before)
    times = take_turns(variants, rounds)
    torch_alone = [seconds.cpu for seconds in times["import torch"]]
    ratios = {
        name: median_ratio([seconds.cpu for seconds in measured], torch_alone)
        for name, measured in times.items()
        if name != "import torch"
    }
    return [row(name, measured) for name, measured in times.items()], ratios


def measure_main_job(rounds: int) -> tuple[list[dict[str, Any]], float]:
    """The rows of the main job and of what its bar is made of; and their ratio, on the processor."""
    times = take_turns(
        {
            "main job": partial(spent, command(PAIR)),
            LIBRARIES: partial(spent, ["-c", LIBRARIES]),
            "training by a bare loop": bare_training,
        },
        rounds,
    )
    bar = [
        libraries.plus(bare) for libraries, bare in zip(times[LIBRARIES], times["training by a bare loop"], strict=True)
    ]
    ratio = median_ratio([seconds.cpu for seconds in times["main job"]], [seconds.cpu for seconds in bar])
    return [row(name, measured) for name, measured in times.items()], ratio


def measure_comparison(rounds: int, before: Path) -> tuple[list[dict[str, Any]], Mapping[str, float]]:
    """The rows of a comparison now and before; and their ratios, by the clock on the wall and on the processor."""
    variants = {
        name: partial(spent, command(COMPARISON, checkout), checkout)
        for name, checkout in (("comparison", HERE), ("comparison before", before))
    }
    times = take_turns(variants, rounds)
    now, then = times.values()
    ratios = {
        "wall": median_ratio([seconds.wall for seconds in now], [seconds.wall for seconds in then]),
        "CPU": median_ratio([seconds.cpu for seconds in now], [seconds.cpu for seconds in then]),
    }
    return [row(name, measured) for name, measured in times.items()], ratios


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--before", type=Path, help="another checkout, which the comparison is measured against")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # processes that lose their parent are waited for here
    rounds = options.rounds
    before = None if options.before is None else options.before.resolve()
    commands = measure_commands(rounds)
    short_run, ratios_of_short = measure_short_run(rounds, before)
    main_job, ratio = measure_main_job(rounds)
    content = environment() | {"rounds": rounds, "commands": commands, "main job": main_job, "main job ratio": ratio}
    parse = measure_parse(rounds)
    content |= {"short run": short_run, "short run ratios": ratios_of_short, "parse s": parse}
    slow = [row["variant"] for row in commands if row["limit s"] and row["CPU s"] > row["limit s"]]
    text = [
        markdown_table(commands),
        f"Over the limit on the processor: {', '.join(slow) or 'none'}.",
        f"The first parse of a pair takes {parse:.3f} s beside imports; the limit is {PARSE_LIMIT_S:g} s.",
        markdown_table(short_run),
        *(
            f"A {name} takes {value:.2f} times `import torch` on the processor; the limit is {SHORT_RUN_LIMIT:g}."
            for name, value in ratios_of_short.items()
        ),
        markdown_table(main_job),
        f"The main job takes {ratio:.2f} times the two others on the processor; the limit is {MAIN_JOB_LIMIT:g}.",
    ]
    if before is not None:
        comparison, ratios = measure_comparison(rounds, before)
        content |= {"comparison": comparison, "comparison ratios": ratios}
        text += [
            markdown_table(comparison),
            f"The comparison takes {ratios['wall']:.0%} of the time before, and {ratios['CPU']:.0%} on the processor; "
            f"the limit is {COMPARISON_LIMIT:.0%}.",
        ]
    write("startup", content, "\n\n".join([*text, f"Medians of {rounds} interleaved rounds."]))


if __name__ == "__main__":
    main()
