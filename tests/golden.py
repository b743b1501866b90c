"""Golden runs: short runs of every method, recorded once, and repeated bit for bit by every later commit.

    python -m tests.golden names              list the runs
    python -m tests.golden compare [NAME ...] repeat runs, all by default; exit code 1 if one differs
    python -m tests.golden record [NAME ...]  write runs, all by default, into the recording

NAME is any part of the name of a run. Floating-point results depend on the build of torch and on the model of the
processor, so each pair of these has its own recording in tests/golden_runs. Record on your own machine at the commit
that you want to compare with.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from redwood.methods import METHODS, get_method
from redwood.methods.base import Method
from redwood.settings import SETTINGS, get_setting
from redwood.settings.base import Setting
from tests.methods.agents.parts import NEEDS_IDS, WITH_PARTS, joined
from tests.methods.agents.runs import SMALL
from tests.small_runs import OPTIONS, run_here, small_setting
from tests.workers import GlooWorkers

Outcome = dict[str, object]

FOLDER = Path(__file__).parent / "golden_runs"
SEEDS = (0, 1)
AGENT_STEPS = 1_000  # of each of two tasks
COMPOSITIONS = ("ewc+rehearsal", "lwf+rehearsal", "rehearsal+stable_sgd")
ON_TWO_WORKERS = ("async_rehearsal", "rehearsal", "finetune")


def recording_file() -> Path:
    """The recording for this build of torch and this processor, whether it exists or not."""
    return FOLDER / f"torch-{torch.__version__}-{torch.backends.cpu.get_cpu_capability()}-{arithmetic()}.json"


@cache
def arithmetic() -> str:
    """A hash of how this processor rounds: the libraries below torch choose their kernels by its model."""
    random = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        square = numbers(64, 64)
        results = [
            F.linear(numbers(32, 64), numbers(100, 64), numbers(100)),
            numbers(300, 200) @ numbers(200),
            torch.bmm(numbers(8, 30, 40), numbers(8, 40, 20)),
            F.conv2d(numbers(32, 16, 8, 8), numbers(32, 16, 3, 3), padding=1),
            F.log_softmax(numbers(64, 100), dim=1),
            torch.linalg.inv(square),
            torch.linalg.eigvalsh(square @ square.T),
        ]
        return digest(results)[:8]
    finally:
        torch.set_num_threads(n_threads)


def recorded() -> dict[str, list[Outcome]]:
    """The recorded outcomes of each run, one for each worker; empty if nothing was recorded for this machine."""
    file = recording_file()
    found: dict[str, list[Outcome]] = json.loads(file.read_text()) if file.exists() else {}
    return found


def digest(tensors: Iterable[Tensor]) -> str:
    """A hash of the bits of tensors."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def text_digest(value: object) -> str:
    """A hash of a plain value."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


class TrainingInputs:
    """Hashes every batch that a network sees in training mode: incoming and replayed samples, in order."""

    def __init__(self) -> None:
        self._found = hashlib.sha256()
        self._calls = 0

    def add(self, x: Tensor) -> None:
        self._found.update(digest([x]).encode())
        self._calls += 1

    def digest(self) -> str:
        return f"{self._calls}:{self._found.hexdigest()[:16]}"


class InputHook:
    """A hook of a network that reports its inputs; copies of the network report nothing."""

    def __init__(self, inputs: TrainingInputs | None) -> None:
        self._inputs = inputs

    def __call__(self, network: nn.Module, args: tuple[Tensor, ...]) -> None:
        if self._inputs is not None and network.training:
            self._inputs.add(args[0])

    def __deepcopy__(self, memo: object) -> "InputHook":
        return InputHook(None)


def network_of(method: Method) -> nn.Module | None:
    """The network of a method that has one."""
    network = getattr(method, "network", None)
    return network if isinstance(network, nn.Module) else None


def supervised(method_key: str, setting_key: str, seed: int, options: dict[str, object]) -> Outcome:
    """The outcome of a supervised run on this worker."""
    setting = small_setting(setting_key, seed=seed, **options)
    method = get_method(method_key)(**OPTIONS.get(method_key, {}))
    inputs, configure = TrainingInputs(), method.configure

    def configure_and_watch(served: Setting) -> None:
        configure(served)
        if (network := network_of(method)) is not None:
            network.register_forward_pre_hook(InputHook(inputs))

    with patch.object(method, "configure", configure_and_watch):
        results = run_here(setting, method)
    network = network_of(method)
    return {
        "matrix": results.accuracy_matrix,
        "curve": text_digest(results.online_curve),
        "flops": results.cost.training_flops,
        "buffer_bytes": results.cost.buffer_bytes,
        "weights": None if network is None else digest(network.state_dict().values()),
        "inputs": inputs.digest(),
    }


def agent(name: str, setting_key: str, seed: int) -> Outcome:
    """The outcome of a run of an agent."""
    cls: type[Any] = get_setting(setting_key)
    setting = cls(
        env=SMALL[name.split("+")[0]][1],
        nb_tasks=2,
        steps_per_task=AGENT_STEPS,
        test_episodes=2,
        seed=seed,
        max_episode_steps=100,
    )
    method = joined(name)
    results = run_here(setting, method)
    return {
        "matrix": results.accuracy_matrix,
        "curve": text_digest(results.online_curve),
        "weights": digest(method.named_parameters().values()),
    }


def home(method_key: str) -> str:
    """The setting that a method is recorded on: class-incremental, or the most general one that it needs."""
    target = get_method(method_key).target
    if issubclass(get_setting("class_incremental"), target):
        return "class_incremental"
    return next(key for key in SETTINGS if get_setting(key) is target)


def one_worker_cases() -> dict[str, "partial[Outcome]"]:
    """The runs in one process, by name."""
    found: dict[str, partial[Outcome]] = {}
    for key in METHODS:
        if key in SMALL:
            continue
        for seed in SEEDS:
            found[f"{key} {home(key)} {seed}"] = partial(supervised, key, home(key), seed, {})
        if issubclass(get_setting("continual"), get_method(key).target):
            options: dict[str, object] = {"dataset": "drift_classification:abrupt", "nb_tasks": None}
            found[f"{key} continual drift 0"] = partial(supervised, key, "continual", 0, options)
    for key in COMPOSITIONS:
        found[f"{key} class_incremental 0"] = partial(supervised, key, "class_incremental", 0, {})
    for name in (*SMALL, *WITH_PARTS):
        setting = "task_incremental_rl" if NEEDS_IDS.intersection(name.split("+")) else "incremental_rl"
        for seed in SEEDS if name in SMALL else SEEDS[:1]:
            found[f"{name} {setting} {seed}"] = partial(agent, name, setting, seed)
    return found


def two_worker_cases() -> dict[str, "partial[Outcome]"]:
    """The runs on two workers, by name."""
    setting = "distributed_class_incremental"
    return {
        f"{key} two workers {seed}": partial(supervised, key, setting, seed, {})
        for key in ON_TWO_WORKERS
        for seed in SEEDS
    }


def plain(outcomes: list[Outcome]) -> list[Outcome]:
    """Outcomes as a recording holds them."""
    found: list[Outcome] = json.loads(json.dumps(outcomes))
    return found


def run_alone(case: "partial[Outcome]") -> list[Outcome]:
    """Run a case in this process, with one thread as in the recordings."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return plain([case()])
    finally:
        torch.set_num_threads(n_threads)


def run_on_two(workers: GlooWorkers, case: "partial[Outcome]") -> list[Outcome]:
    """Run a case on two workers."""
    return plain(workers.run(2, case.func, *case.args))


def difference(before: list[Outcome], now: list[Outcome]) -> str | None:
    """The fields in which the outcomes of a run differ, and the last rows of its matrices; None if they are equal."""
    if before == now:
        return None
    fields = sorted({key for old, new in zip(before, now, strict=True) for key in old if new.get(key) != old[key]})
    rows = [outcome["matrix"][-1] for outcome in (before[0], now[0]) if isinstance(outcome["matrix"], list)]
    return f"{', '.join(fields)} differ; last rows {rows[0]} before, {rows[-1]} now"


def main(arguments: list[str]) -> int:
    """Record or compare runs; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description="Record or compare golden runs.")
    parser.add_argument("command", choices=["names", "compare", "record"])
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts of the names of runs; default: all runs")
    chosen = parser.parse_args(arguments)
    before, now = recorded(), dict[str, list[Outcome]]()
    with GlooWorkers() as workers:
        runs: dict[str, Callable[[], list[Outcome]]] = {
            **{name: partial(run_alone, case) for name, case in one_worker_cases().items()},
            **{name: partial(run_on_two, workers, case) for name, case in two_worker_cases().items()},
        }
        wanted = [name for name in runs if not chosen.names or any(part in name for part in chosen.names)]
        if chosen.command == "names":
            print("\n".join(wanted))
            return 0
        if chosen.command == "compare" and not before:
            sys.exit(f"No runs are recorded in {recording_file()}; record them at a commit to compare with.")
        for name in wanted:
            now[name] = runs[name]()
    if chosen.command == "record":
        lines = [f" {json.dumps(name)}: {json.dumps(found)}" for name, found in (before | now).items()]
        FOLDER.mkdir(exist_ok=True)
        recording_file().write_text("{\n" + ",\n".join(lines) + "\n}\n")
        return 0
    found = {name: difference(before[name], now[name]) if name in before else "not recorded" for name in wanted}
    differing = [f"{name}: {text}" for name, text in found.items() if text is not None]
    print("\n".join(differing) or f"{len(wanted)} runs, all equal")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
