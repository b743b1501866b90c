"""The record that tells two runs apart: digests of inputs, state and weights of each phase, and the environment.

`results.json` holds all of it as `reproduction`; the command `diff` compares it.
"""

import os
import platform
import subprocess
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import torch

from redwood.core.digest import as_text, digest
from redwood.core.files import plain
from redwood.core.schema import Json
from redwood.core.state import State
from redwood.core.workers import gather_objects, world_size
from redwood.settings.protocols import AnyPhase
from redwood.settings.scores.results import installed_versions


def start_sitting(reproduction: State, device: torch.device, next_phase: int, data: State | None) -> None:
    """Record the data, and the environment unless it is that of the sitting before.

    Args:
        reproduction: The record of the run, which is changed.
        device: The device of this worker.
        next_phase: The first phase of this sitting.
        data: The fingerprint of the stream's data.
    """
    for name, empty in (("sittings", []), ("start", {}), ("phases", [])):
        reproduction.setdefault(name, empty)
    reproduction["data"] = plain(data or {})
    found, sittings = environment(device), reproduction["sittings"]
    if not sittings or sittings[-1]["environment"] != found:
        sittings.append({"from_phase": next_phase, "environment": found})


def environment(device: torch.device) -> Json:
    """The versions, the checkout and the hardware that the numbers of a run may depend on."""
    commit, state = checkout()
    return {
        **installed_versions(),
        "commit": commit,
        "checkout": state,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "workers": world_size(),
    }


@cache
def checkout() -> tuple[str, str]:
    """The commit of redwood's own checkout, and whether it is clean or changed; empty texts if it is installed."""
    folder = Path(__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit or not _git(folder, "ls-files", "__init__.py"):  # installed below somebody's checkout
        return "", ""
    changes = _git(folder, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color")
    return commit.decode().strip(), f"changed ({as_text(zlib.crc32(changes))})" if changes else "clean"


def _git(folder: Path, *arguments: str) -> bytes:
    """The output of a command of git in a folder; empty if it fails or git is missing."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, env=variables, capture_output=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return b""


@cache
def processor() -> str:
    """The model of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def add_inputs(reproduction: State, phase: AnyPhase) -> None:
    """Record a phase that is over, with the digest of what all workers have trained on; every worker calls this."""
    found = gather_objects(phase.inputs_digest)
    reproduction["phases"].append({"inputs": "" if None in found else as_text(digest(found))})


def add_state(reproduction: State, state: State) -> None:
    """Record the digest of each entry of the workers' states: after the last phase, or before the first one.

    An entry that holds mappings alone, such as the parameters and the memory of an agent, has a digest for each.
    """
    found = gather_objects({name: digest(entry) for name, entry in _entries(state)})
    joined = {name: as_text(_joined([one.get(name) for one in found])) for name in found[0]}
    if not reproduction["phases"]:
        reproduction["start"] = joined
    else:  # a run that extends another one begins with the phases of that
        reproduction["phases"][-1].setdefault("state", joined)


def _joined(found: Sequence[int | None]) -> int:
    """One digest of those of the workers; of equal states it is the same for any number of workers."""
    return digest(found if len(set(found)) > 1 else found[:1])


def _entries(state: State) -> Iterator[tuple[str, object]]:
    for name, entry in state.items():
        if isinstance(entry, Mapping) and entry and all(isinstance(part, Mapping) for part in entry.values()):
            yield from ((f"{name}.{key}", part) for key, part in entry.items())
        else:
            yield name, entry
