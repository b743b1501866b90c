"""What runs the jobs of a comparison: this process, or a pool of processes."""
