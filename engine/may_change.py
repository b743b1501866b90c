"""The options that may be changed in `config.yaml` before a run is resumed; the list imports no library."""

# They name the logs of the run, the places of its data and its library, and its devices. Results on other devices may
# differ in the last digits. With another number of workers results differ, and not every method can go on.
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
