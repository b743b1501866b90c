"""Launchers of a comparison's jobs: this process, a pool of processes, SLURM or Ray."""
