"""The devices that a run computes on."""

import torch

from redwood.core.errors import InvalidOptionError

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")


def device_type(accelerator: str) -> str:
    """The kind of device that `--accelerator` means on this machine: `cuda`, `mps` or `cpu`."""
    if accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if accelerator == "gpu":
        return "mps" if torch.backends.mps.is_available() and not torch.cuda.is_available() else "cuda"
    return accelerator


def numbers_on_machine(devices: str, workers: int, nodes: int) -> list[int] | int:
    """Return the argument of `Trainer(devices=...)` on each machine that gives one device per worker.

    Raises:
        InvalidOptionError: If `devices` and `nodes` do not multiply to `workers`.
    """
    per_node, rest = divmod(workers, nodes)
    if rest:
        raise InvalidOptionError(f"--workers {workers} cannot be spread evenly over --nodes {nodes}.")
    if devices == "auto":
        return per_node
    listed = [int(part) for part in devices.strip(",").split(",")]
    if "," not in devices:
        listed = list(range(listed[0]))
    if len(set(listed)) != per_node:
        raise InvalidOptionError(
            f"--devices {devices} names {len(set(listed))} devices a machine, but --workers {workers} over "
            f"--nodes {nodes} makes {per_node}; give one device per worker."
        )
    return listed if "," in devices else per_node


def check_present(numbers: list[int] | int, accelerator: str) -> None:
    """Raise `InvalidOptionError` if this machine lacks one of the devices."""
    kind = device_type(accelerator)
    if kind == "cpu":
        return
    present = torch.cuda.device_count() if kind == "cuda" else int(torch.backends.mps.is_available())
    highest = max(numbers) if isinstance(numbers, list) else numbers - 1
    if not present:
        raise InvalidOptionError(
            f"--accelerator {accelerator}: this machine has no such device; use --accelerator cpu."
        )
    if highest >= present:
        raise InvalidOptionError(
            f"The workers need GPU number {highest}, counted from 0, but this machine has {present}; "
            "use fewer --workers, other --devices, or --accelerator cpu."
        )
