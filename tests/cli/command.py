"""The command line as a process of its own: a new one, or a copy of one that has imported the large libraries."""

import os
import signal
import subprocess
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from tests.fork_server import start_context

ROOT = Path(__file__).resolve().parents[2]
CLI = [sys.executable, str(ROOT / "cli.py")]
QUICK = ["--passes", "1", "--nb_tasks", "2", "--accelerator", "cpu"]
PICTURES = {f"{name}.{kind}" for name in ("accuracy_matrix", "accuracy_curve", "cost_curve") for kind in ("png", "svg")}
RUN_FILES = {"config.yaml", "results.json", "metrics.csv", "checkpoints"} | PICTURES
COMMAND_FILES = RUN_FILES | {"report.html"}  # of one run from the command line


def environment(**changes: str) -> dict[str, str]:
    """The environment of a process: one thread, plain output."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("FORCE_COLOR", "WANDB_"))}
    return plain | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"} | changes


def start(*arguments: str, cwd: Path = ROOT, command: list[str] | None = None, **options: Any) -> subprocess.Popen[str]:
    """Start `python cli.py ...`, or another command with these arguments."""
    defaults: dict[str, Any] = {"env": environment(), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process: subprocess.Popen[str] = subprocess.Popen(
        [*(command or CLI), *arguments], cwd=cwd, text=True, **defaults | options
    )
    return process


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    process = start(*arguments, **options)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def start_copy(*arguments: str, output: Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> ForkServerProcess:
    """Start the command line without seconds of imports; what it prints goes to `output`, a file or a terminal."""
    process = start_context().Process(target=_run_copy, args=(arguments, output, cwd, env or environment()))
    process.start()
    return process


def _run_copy(arguments: tuple[str, ...], output: Path, cwd: Path, env: dict[str, str]) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    descriptor = os.open(output, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    for standard in (0, 1, 2):
        os.dup2(descriptor, standard)
    sys.stdout, sys.stderr = (os.fdopen(standard, "w", buffering=1, closefd=False) for standard in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import torch

    from redwood.cli import main

    torch.set_num_threads(1)
    sys.exit(main(list(arguments)))


def content(folder: Path) -> dict[str, bytes | None]:
    """What is in a folder, byte for byte; None stands for a folder inside it."""
    paths = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)  # Python keeps compiled files there
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def assert_one_sentence(stderr: str) -> None:
    """Check that a user would see one line that starts with `error: `, and no traceback."""
    assert stderr.startswith("error: "), stderr
    assert stderr.count("\n") == 1 and stderr.endswith("\n"), stderr
