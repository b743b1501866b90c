"""Processes that torchrun or SLURM has started: their number, and the rank of this one."""

import os


def launched_processes() -> int:
    """Return the number of processes that torchrun or SLURM started, this one included; 1 if neither did."""
    if not {"TORCHELASTIC_RUN_ID", "SLURM_NTASKS"} & os.environ.keys():
        return 1  # Lightning looks for these, too, and takes seconds to import
    from lightning_fabric.plugins.environments import slurm, torchelastic

    if not (torchelastic.TorchElasticEnvironment.detect() or slurm.SLURMEnvironment.detect()):
        return 1
    return int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS", "1"))


def is_first_process() -> bool:
    """True if this process is the only one, or the first one that torchrun or SLURM started."""
    return launched_processes() == 1 or int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID", "0")) == 0
