"""The single-task reference of a run: what a fresh agent reached on each task, as another run measured it."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from redwood.settings.errors import InvalidOptionError
from redwood.settings.results import Results

if TYPE_CHECKING:
    from redwood.settings.rl.setting import ReinforcementSetting

# What decides the tasks; a reference with other ones would be one for something else.
SAME = ("env", "steps_per_task", "attributes", "task_noise", "tasks", "max_episode_steps")


def read_reference(setting: "ReinforcementSetting") -> dict[str, list[float | None]]:
    """Returns and areas of the run that `setting.reference` names, or of the one in that folder with the same seed.

    In a folder of runs, only those with a method joined to `scratch` count; one that is named itself may have any.

    Raises:
        InvalidOptionError: If there is none, there are several, or it had other tasks.
    """
    from redwood.settings.rl.results import ReturnResults

    folder = Path(setting.reference)
    named = folder / "results.json"
    files = [named] if named.exists() else sorted(folder.glob("*/results.json"))
    found = [results for results in map(Results.load, files) if isinstance(results, ReturnResults)]
    if not named.exists():
        found = [results for results in found if "scratch" in results.method.split("+")]
    if not found:
        raise InvalidOptionError(
            f"--reference {folder} holds no results of fresh agents; name the folder of a finished run, "
            "such as one of --setting incremental_rl --method ppo+scratch."
        )
    alike = [results for results in found if results.seed == setting.seed]
    if not alike:
        raise InvalidOptionError(
            f"--reference {folder} holds no run with --seed {setting.seed}, which decides the tasks; run it with that."
        )
    if len(alike) > 1:
        methods = ", ".join(results.method for results in alike)
        raise InvalidOptionError(
            f"--reference {folder} holds several runs with --seed {setting.seed} ({methods}); name the folder of one."
        )
    results = alike[0]
    order = setting.order
    if (results.phase_tasks or list(range(results.n_phases))) != order or len(results.accuracy_matrix) != len(order):
        raise InvalidOptionError(
            f"--reference {folder} has {results.n_phases} phases, but {len(order)} tasks need one phase each; "
            "run the reference under incremental_rl."
        )
    own = setting.described()
    for name in SAME:
        if results.config.get(name) != own[name]:
            raise InvalidOptionError(
                f"--reference {folder} was run with --{name} {results.config.get(name)}, this run has {own[name]}; "
                "make them equal."
            )
    # Of a task that comes back, a fresh agent that met it first.
    first = [order.index(task) for task in range(setting.n_tasks)]
    areas = [results.areas[phase] for phase in first]
    return {
        "returns": [results.accuracy_matrix[phase][task] for task, phase in enumerate(first)],
        "areas": [area if math.isfinite(area) else None for area in areas],
    }
