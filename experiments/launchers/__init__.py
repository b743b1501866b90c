"""What runs the jobs of a comparison: this process, a pool of processes, or SLURM."""
