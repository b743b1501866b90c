"""The single-task reference: fresh agents on each task, to which returns and areas under curves are compared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from redwood.core.errors import InvalidOptionError
from redwood.core.user_warnings import warn
from redwood.settings.rl.bridge import PREFIX
from redwood.settings.rl.results import Reference, ReturnResults, plain_values
from redwood.settings.scores.results import Results

FRESH = "scratch"  # the part of a method that starts a new agent for each task
SAME = ("steps_per_task", "max_episode_steps")  # with the tasks, they decide what can be learned
TASKS = ("env", "attributes", "task_noise", "tasks")  # options that a message names where tasks differ
# A fresh agent meets one task at a time and needs no input that names it; the number of processes changes no result.
MAY_DIFFER = ("task_input", "env_processes")

TaskKey: TypeAlias = tuple[str, frozenset[tuple[str, float]], int]
ReadDefault: TypeAlias = Callable[[str, str], float | None]


@dataclass(frozen=True)
class Wanted:
    """The run that a reference is looked for.

    Attributes:
        method: Its method, as results name it.
        agent_options: The options of its method.
        setting_options: The options of its setting, as results keep them.
        dataset: The names of its environments, as results keep them.
        physics: Environment and physics of each task, as `task_physics` of results.
        read_default: Gives a number of an unchanged environment, by the environment's name and the number's; None if
            the run has no such environment.
    """

    method: str
    agent_options: Mapping[str, object]
    setting_options: Mapping[str, Any]
    dataset: str
    physics: Sequence[Mapping[str, Any]]
    read_default: ReadDefault

    @property
    def seed(self) -> int:
        """The seed, which may decide the tasks."""
        return int(self.setting_options["seed"])


def task_keys(
    dataset: str, seed: int, physics: Sequence[Mapping[str, Any]], read_default: ReadDefault
) -> list[TaskKey]:
    """Return the key of each task (T,): the environment, the physics that differ from its own, and a number.

    The number counts tasks that are alike in both, such as those of a data set and functions of one name.

    Args:
        dataset: The names of the environments, as results keep them.
        seed: Seed of the run; it decides the tasks of a data set.
        physics: Environment and physics of each task, as `task_physics` of results.
        read_default: Gives the numbers of unchanged environments.
    """
    keys: list[TaskKey] = []
    for values in physics:
        numbers = dict(values)
        name = str(numbers.pop("env", dataset))
        changed = frozenset((number, value) for number, value in numbers.items() if value != read_default(name, number))
        if dataset.startswith(PREFIX):
            name = f"{dataset} in {len(physics)} tasks with --seed {seed}"
        alike = sum(key[:2] == (name, changed) for key in keys)
        keys.append((name, changed, alike))
    return keys


def read_reference(folder: Path, wanted: Wanted) -> Reference:
    """Read the results of fresh agents on each task of a run.

    A task is looked up by its environment and its physics, in the phase in which the agent met it first. Where several
    seeds have all tasks, the values are means over these seeds, as those of Continual World's `normalized_ft`.

    Args:
        folder: A run, or a folder of runs. Of the latter, only runs joined to `scratch` count, and of these only
            those of this agent, if there are any.
        wanted: The run that is to be compared.

    Returns:
        Returns and areas of each task.

    Raises:
        InvalidOptionError: If there is no such run, a seed has several, they are of several other agents, or they had
            other tasks or budgets.
    """
    tasks = task_keys(wanted.dataset, wanted.seed, wanted.physics, wanted.read_default)
    chosen = _with_tasks(folder, _runs_of_agent(folder, wanted), tasks, wanted)
    for results in chosen:
        _check_same(folder, results, wanted)
    _tell_other_options(folder, chosen, wanted)
    read = [_values(results, tasks, wanted) for results in chosen]
    names = [name for name in read[0] if all(name in values for values in read)]
    return {name: plain_values(_mean([values[name] for values in read])) for name in names}


def _runs_of_agent(folder: Path, wanted: Wanted) -> list[ReturnResults]:
    named = folder / "results.json"
    files = [named] if named.exists() else sorted(folder.glob("*/results.json"))
    found = [results for results in map(Results.load, files) if isinstance(results, ReturnResults)]
    fresh = [results for results in found if FRESH in results.method.split("+")]
    if found and not fresh and named.exists():
        warn(
            f"--reference {folder} is of {found[0].method}, not joined to scratch: if it keeps what earlier tasks "
            "taught, scores relative to it also measure this."
        )
        fresh = found
    if not fresh:
        has = f" (it has {', '.join(sorted({results.method for results in found}))})" if found else ""
        raise InvalidOptionError(
            f"--reference {folder} holds no results of fresh agents{has}; name the folder of a finished run of the "
            "agent joined to scratch, such as one of --setting incremental_rl --method ppo+scratch."
        )
    own = set(wanted.method.split("+"))
    same = [results for results in fresh if set(results.method.split("+")) - {FRESH} <= own]
    methods = sorted({results.method for results in same or fresh})
    if not same and len(methods) > 1:
        raise InvalidOptionError(
            f"--reference {folder} holds runs of several other agents ({', '.join(methods)}) and none of this one "
            f"({wanted.method}); name the folder of one run."
        )
    if not same:
        warn(
            f"--reference {folder} is of another agent ({methods[0]}) than this run ({wanted.method}): scores relative "
            "to it also measure this difference."
        )
    return same or fresh


def _with_tasks(
    folder: Path, found: Sequence[ReturnResults], tasks: Sequence[TaskKey], wanted: Wanted
) -> list[ReturnResults]:
    """The runs that have trained all tasks, at most one of each seed."""
    chosen = [results for results in found if set(tasks) <= set(_keys_of(results, wanted))]
    if not chosen:
        raise InvalidOptionError(_why_other_tasks(folder, found, tasks, wanted))
    for results in chosen:
        alike = [other.method for other in chosen if other.seed == results.seed]
        if len(alike) > 1:
            raise InvalidOptionError(
                f"--reference {folder} holds several runs with --seed {results.seed} ({', '.join(alike)}); name the "
                "folder of one."
            )
    return chosen


def _keys_of(results: ReturnResults, wanted: Wanted) -> list[TaskKey]:
    return task_keys(results.dataset, results.seed, results.config.get("task_physics", ()), wanted.read_default)


def _why_other_tasks(folder: Path, found: Sequence[ReturnResults], tasks: Sequence[TaskKey], wanted: Wanted) -> str:
    options = wanted.setting_options
    first = found[0]
    for name in TASKS:
        if first.config.get(name) != options[name]:
            lacking = next(task for task in tasks if task not in _keys_of(first, wanted))
            return (
                f"--reference {folder} was run with --{name} {first.config.get(name)}, this run has {options[name]}, "
                f"and the reference lacks the task {_described(lacking)}; run it on all tasks of this run."
            )
    if all(results.seed != wanted.seed for results in found):
        return (
            f"--reference {folder} holds no run with --seed {wanted.seed}, which decides the tasks; run it with that."
        )
    return f"--reference {folder} has not all {len(tasks)} tasks of this run; run it with the same --nb_tasks."


def _described(task: TaskKey) -> str:
    name, changed, _ = task
    numbers = ", ".join(f"{number}={value:.4g}" for number, value in sorted(changed))
    return f"{name} with {numbers}" if numbers else name


def _check_same(folder: Path, results: ReturnResults, wanted: Wanted) -> None:
    trained = results.phase_tasks or range(results.num_phases)
    tasks = len(results.config["task_physics"])
    if len(set(trained)) < tasks:
        raise InvalidOptionError(
            f"--reference {folder} has trained its {tasks} tasks in {results.num_phases} phase; run the reference "
            "under incremental_rl, where each task has a phase."
        )
    if len(results.accuracy_matrix) < results.num_phases or not results.tested:
        raise InvalidOptionError(
            f"--reference {folder} has no test returns of all its phases; finish it, with --eval_tasks all or seen."
        )
    for name in SAME:
        if results.config.get(name) != wanted.setting_options[name]:
            raise InvalidOptionError(
                f"--reference {folder} was run with --{name} {results.config.get(name)}, "
                f"this run has {wanted.setting_options[name]}; make them equal."
            )
    every = wanted.setting_options["eval_every"]
    if every and results.config.get("eval_every") not in (None, 0, every):
        raise InvalidOptionError(
            f"--reference {folder} was run with --eval_every {results.config['eval_every']}, this run has {every}; "
            "make them equal, so that areas under curves compare."
        )


def _tell_other_options(folder: Path, chosen: Sequence[ReturnResults], wanted: Wanted) -> None:
    """Warn of options of the agent by which the reference differs."""
    own = {name: value for name, value in wanted.agent_options.items() if name not in MAY_DIFFER}
    other = {
        name: (results.config[name], value)
        for results in chosen
        for name, value in own.items()
        if name in results.config and results.config[name] != value
    }
    if other:
        listed = ", ".join(f"--{name} {theirs} instead of {ours}" for name, (theirs, ours) in other.items())
        warn(f"--reference {folder} was run with {listed}: scores relative to it also measure this difference.")


def _values(results: ReturnResults, tasks: Sequence[TaskKey], wanted: Wanted) -> dict[str, list[float | None]]:
    """Returns and areas of each task of the run, in the phase in which the reference met it first."""
    keys = _keys_of(results, wanted)
    trained = list(results.phase_tasks or range(results.num_phases))
    columns = [keys.index(task) for task in tasks]
    phases = [trained.index(column) for column in columns]
    successes = results.success_areas
    return {
        "returns": [results.accuracy_matrix[phase][column] for phase, column in zip(phases, columns, strict=True)],
        "areas": [results.areas[phase] for phase in phases],
        **({} if successes is None else {"success_areas": [successes[phase] for phase in phases]}),
    }


def _mean(values: Sequence[Sequence[float | None]]) -> Any:
    """The mean over seeds of (seeds, T) values, without those in which nothing was measured."""
    table = np.array(values, dtype=np.float64)
    known = np.isfinite(table)
    sums, counts = np.where(known, table, 0).sum(0), known.sum(0)
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
