"""The command line, as a process of its own and in this one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CLI = [sys.executable, str(ROOT / "cli.py")]
QUICK = ["--passes", "1", "--nb_tasks", "2", "--accelerator", "cpu"]
RUN_FILES = {
    "config.yaml",
    "results.json",
    "metrics.csv",
    "accuracy_matrix.png",
    "accuracy_curve.png",
    "checkpoints",
}


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


def content(folder: Path) -> dict[str, bytes | None]:
    """What is in a folder, byte for byte; None stands for a folder inside it."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def assert_one_sentence(stderr: str) -> None:
    """Check that a user would see one line that starts with `error: `, and no traceback."""
    assert stderr.startswith("error: "), stderr
    assert stderr.count("\n") == 1 and stderr.endswith("\n"), stderr
