"""Processes that torchrun or SLURM has started: how many there are, and which one this is."""

import os


def launched_processes() -> int:
    """How many processes torchrun or SLURM has started, this one included; 1 if neither has."""
    if not {"TORCHELASTIC_RUN_ID", "SLURM_NTASKS"} & os.environ.keys():
        return 1  # Lightning looks for these, too, and takes seconds to import
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if not (TorchElasticEnvironment.detect() or SLURMEnvironment.detect()):
        return 1
    return int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS", "1"))


def is_first_process() -> bool:
    """Whether this process is the first of those that torchrun or SLURM has started, or the only one."""
    return launched_processes() == 1 or int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID", "0")) == 0
