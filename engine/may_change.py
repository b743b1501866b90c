"""The options that may be changed in `config.yaml` before a run is resumed; the list imports no library."""

# They say how the run is watched, where it finds its data and its library, and on what it computes; results on other
# devices may differ in the last digits. On another number of workers they differ, and not every method can go on.
MAY_CHANGE = frozenset(
    {
        "accelerator",
        "checkpoint_every",
        "data_dir",
        "devices",
        "env_processes",
        "experiment",
        "extends",
        "keep_checkpoints",
        "library",
        "logger",
        "nodes",
        "num_workers",
        "project",
        "quiet",
        "threads",
        "wandb",
        "workers",
    }
)
