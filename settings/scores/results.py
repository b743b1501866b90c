"""The results of a run: the accuracy (or mAP, or RMSE) matrix, its metrics, and their file."""

import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from redwood.core.errors import DataError
from redwood.core.files import plain, read_json, write_json
from redwood.core.overrides import warn_of_misnamed
from redwood.core.parts import flat
from redwood.core.schema import Json, Spec
from redwood.settings.scores import metrics
from redwood.settings.scores.cost import USES, Cost
from redwood.settings.scores.learning_curve import learning_curve_area
from redwood.settings.scores.measure import ACCURACY, RMSE, Measure
from redwood.settings.scores.results_class import CLASSES_KEY, class_for, references_of
from redwood.settings.scores.results_schema import check_results
from redwood.settings.scores.shown import Shown
from redwood.settings.scores.slices import SliceScores

# A function that draws results into a file; of a path without a suffix it makes a PNG and an SVG.
Draw: TypeAlias = Callable[[Any, Path], None]

_OF_ALL = ("metrics", "cost", "versions", "config")
_OPTIONAL = ("phase_tasks", "learning_curves", "slices", "class_names", "task_names", "phases_before", "reproduction")


# What a class of results overrides, or a file and a table ask for: no answers for a reader of results.
_HOOKS = frozenset(
    {"further_rows", "keys", "metric_names", "optional_entries", "optional_keys", "own_entries", "phase_name"}
    | {"prefers_low", "ranked_by", "rates_classes", "score_in_words", "steps_per_phase", "why_undefined"}
)


class Rows(NamedTuple):
    """A further table of one run.

    Attributes:
        title: The title of the table.
        columns: The headings of the columns.
        rows: The values (columns,) of each row by its name; None: not measured.
        scores: Whether the values are scores, shown as those of the run's measure, such as shares in percent. Others,
            such as counts, are shown as they are.
    """

    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, Sequence[float | None]]
    scores: bool = True


def installed_versions() -> dict[str, str]:
    """Return the versions of Python, redwood and the libraries that affect the numbers of a run."""
    packages = ("redwood", "torch", "pytorch_lightning", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


@dataclass(kw_only=True, repr=False)
class Results(Shown):
    """The outcome of one run, finished or not. A row is appended to `accuracy_matrix` at the end of each phase.

    `<`, `<=`, `>` and `>=` compare objectives. The greater results are the better ones, also if `lower_is_better`, so
    `max(runs)` is the best run. `==` compares every field.

    Attributes:
        setting: Key of the setting.
        method: Key of the method.
        dataset: Name of the data set.
        seed: Seed of the run.
        num_phases: Number of planned phases: one for each task, or each visit of a task, or 1 for the whole stream.
        accuracy_matrix: R (P, T), P <= `num_phases`: accuracy in [0, 1] on task j after phase i; None if not tested.
        untrained_accuracy: Accuracy (T,) of the untrained network; None if not measured. Not in the JSON file.
        online_curve: Points (training samples seen, accuracy on those since the previous point, before learning them).
        cost: The cost of the run.
        config: Options that reproduce the run.
        versions: Versions of the software.
        top5_accuracy: Top-5 accuracy (T,) after the last phase; None for up to ten classes. Not in the JSON file.
        validation_matrix: Row i: accuracy after phase i on the samples held out (`--validation`) from each phase up to
            it. None for a phase that was too small, or whose samples are among those of a later phase. Empty if no
            samples are held out.
        phase_tasks: The task (P,) of each phase, where tasks come back; tasks are numbered as they come. None where
            phase i trains task i, or one phase trains all of them. In the JSON file unless it is None.
        learning_curves: Test accuracy (P, n + 1) on the task of each phase after 0..n of its mini-batches (`--lca n`);
            None where the method could not predict yet. Empty unless asked for.
        slices: Scores on each slice of the test samples after the last phase; None where no classes are predicted, and
            in files that were written without it.
        class_names: Name of each output (K,). Empty where the data has none.
        task_names: Name of each task (T,), such as its month. Empty where the data has none.
        phases_before: Phases of earlier runs whose tasks cannot be tested any more: the matrix begins behind them, and
            forgetting of them is not known. In the JSON file unless it is 0.
        reproduction: Digests of each phase and the environment, for `diff`. Empty of a run without a folder.
    """

    lower_is_better: ClassVar[bool] = False
    measure: ClassVar[Measure] = ACCURACY
    ranked_by: ClassVar[str] = "average"  # what the objective is: this and the name of the measure
    phase_name: ClassVar[str] = "task"  # what a row of the matrix stands for, in tables and pictures
    own_entries: ClassVar[Mapping[str, Spec]] = {}  # further entries in the file of a subclass, and what they may hold
    optional_entries: ClassVar[Mapping[str, Spec]] = {}  # further entries that may be missing
    rates_classes: ClassVar[bool] = False  # whether a table tells how unequal the error rates of the classes are

    setting: str
    method: str
    dataset: str
    seed: int
    num_phases: int
    accuracy_matrix: list[list[float | None]] = field(default_factory=list)
    untrained_accuracy: list[float] | None = None
    online_curve: list[tuple[int, float]] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    config: Json = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=installed_versions)
    top5_accuracy: list[float | None] | None = None
    validation_matrix: list[list[float | None]] = field(default_factory=list)
    phase_tasks: list[int] | None = None
    learning_curves: list[list[float | None]] = field(default_factory=list)
    slices: SliceScores | None = None
    class_names: list[str] = field(default_factory=list)
    task_names: list[str] = field(default_factory=list)
    phases_before: int = 0
    reproduction: Json = field(default_factory=dict)
    # A file holds the forward transfer but not the untrained accuracies: number of rows, and the value for these rows.
    _loaded_forward_transfer: tuple[int, float | None] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def __init_subclass__(cls) -> None:
        """Warn of attributes whose names nearly match that of a hook."""
        super().__init_subclass__()
        warn_of_misnamed(cls, 2)
        cls.__repr__ = cls.__repr__  # type: ignore[method-assign]  # else `dataclass` makes one with all fields

    def __dir__(self) -> list[str]:
        """The names that completion offers: all but the hooks of classes of results."""
        return sorted(set(super().__dir__()) - _HOOKS)

    def __repr__(self) -> str:
        try:
            score = self.score_in_words(self.objective) if self.tested else "not tested"
        except ValueError:
            score = "unfinished"
        where = f" on {self.dataset}" if self.dataset else ""
        return f"<{type(self).__name__} of {self.setting} / {self.method}{where}, seed {self.seed}: {score}>"

    def score_in_words(self, objective: float) -> str:
        """An objective of such runs in words, as in `average accuracy 45.3 %`."""
        where = " on the new tasks" if self.phases_before else ""
        value = f"{self.measure.show(objective)} {self.measure.unit}".rstrip()
        return f"{self.ranked_by} {self.measure.name}{where} {value}"

    @property
    def learned(self) -> NDArray[np.float64]:
        """The part of the accuracy matrix that the metrics are computed from.

        All of it where one phase trains all tasks; else the columns of the tasks that were trained so far.

        Raises:
            ValueError: If no phase has been evaluated, or the matrix does not fit `num_phases`.
        """
        rows = len(self.accuracy_matrix)
        if not 0 < rows <= self.num_phases:
            raise ValueError(
                f"The accuracy matrix has {rows} rows for {self.num_phases} phases; it needs one for each."
            )
        if self.num_phases == 1:
            return np.array(self.accuracy_matrix, dtype=np.float64)
        num_tasks = self.num_phases if self.phase_tasks is None else max(self.phase_tasks) + 1
        if any(len(row) != num_tasks for row in self.accuracy_matrix):
            lengths = sorted({len(row) for row in self.accuracy_matrix})
            raise ValueError(
                f"Rows of {lengths} accuracies do not fit {self.num_phases} phases; give one per task to each."
            )
        seen = self.tasks_seen(rows - 1)
        return np.array([row[:seen] for row in self.accuracy_matrix], dtype=np.float64)

    def tasks_seen(self, phase: int) -> int:
        """Number of tasks that were trained by the end of a phase."""
        if self.num_phases == 1:
            return len(self.accuracy_matrix[0])
        return phase + 1 if self.phase_tasks is None else max(self.phase_tasks[: phase + 1]) + 1

    @property
    def all_tested(self) -> bool:
        """True if every task was tested after every phase so far; False with `--eval_tasks seen`."""
        return not any(None in row for row in self.accuracy_matrix)

    @property
    def tested(self) -> bool:
        """True if any task was tested; False with `--eval_tasks none`."""
        return any(value is not None for row in self.accuracy_matrix for value in row)

    @property
    def order(self) -> list[int] | None:
        """The task of each phase so far, where tasks come back: the argument `order` of the metrics."""
        return None if self.phase_tasks is None else self.phase_tasks[: len(self.accuracy_matrix)]

    @property
    def validation(self) -> list[float | None]:
        """Accuracy (P,) after each phase on the samples held out from it; empty if there are none."""
        return [row[-1] for row in self.validation_matrix]

    @property
    def tuning_curve(self) -> list[float | None]:
        """The score (P,) that a sweep uses after each phase: the average on samples held out from the phases so far."""
        return [_mean_of_known(row) for row in self.validation_matrix]

    @property
    def average_curve(self) -> NDArray[np.float64]:
        """The average accuracy on the tasks so far after each phase (P,)."""
        return metrics.average_accuracy_curve(self.learned, self.order)

    @property
    def metrics(self) -> dict[str, float | None]:
        """Every metric of `measure` over the phases so far; None where it is not defined or not measured.

        Where samples were held out, two values on held-out samples are added: on those of the last phase, and the
        average over the phases. With `--lca`, the area under the learning curves is added, `lca`.
        """
        key = self.measure.key
        values: dict[str, float | None] = dict.fromkeys(self.measure.metrics)
        values[self.measure.online_key] = self._online()
        if self.tested:
            matrix = self.learned
            gains = self._as_gains(matrix)
            found = {
                f"average_{key}": metrics.average_accuracy(matrix, self.order),
                f"average_incremental_{key}": metrics.average_incremental_accuracy(matrix, self.order),
                "forgetting": self._forgetting(gains),
                "backward_transfer": self._if_any_came_before(gains, metrics.backward_transfer(gains, self.order)),
                "forward_transfer": self._forward_transfer(gains),
            }
            # The end of a run may be untested: one that goes on from another with --eval_tasks none.
            values |= {name: None if value is None or math.isnan(value) else value for name, value in found.items()}
        return (
            values
            | self._validation_metrics()
            | ({"lca": learning_curve_area(self.learning_curves)} if self.learning_curves else {})
        )

    @classmethod
    def metric_names(cls) -> tuple[str, ...]:
        """The names that `metrics` may have; they are known before a run. A class with further metrics overrides it."""
        key = cls.measure.key
        return (*cls.measure.metrics, f"validation_{key}", f"average_validation_{key}", "lca")

    def prefers_low(self, metric: str) -> bool:
        """True if less of a metric is better: of errors, and of forgetting. A class with other metrics overrides it."""
        return "forgetting" in metric or (self.lower_is_better and self.measure.key in metric)

    @property
    def steps_per_phase(self) -> int | None:
        """Steps that each phase takes on the axis of the online curve; None where phases may differ."""
        return None

    def figures(self) -> Mapping[str, Draw | str]:
        """The pictures that a class of results adds to those of every run; `plot(name)` draws any of both.

        They are functions, by the name of the file without a suffix. One with the name of a picture of every run
        (`redwood.engine.figures.plots.draw_run`) replaces it. A class without pictures of its own returns none.
        A reference, `package.module:function`, is imported when it is drawn: matplotlib takes seconds.
        """
        return {}

    def further_rows(self) -> Sequence[Rows]:
        """Tables of the run beside the matrix and the metrics."""
        return ()

    def why_undefined(self, name: str) -> str:
        """Return the reason why a metric of a tested run is None, in a few words; empty where a table tells it."""
        return ""

    @property
    def options(self) -> Json:
        """The options of the run by name; those of parts stand beside the others."""
        return flat(self.config)

    @property
    def objective(self) -> float:
        """The number that ranks runs: the average of the last row.

        Raises:
            ValueError: If no phase has been evaluated yet.
        """
        return metrics.average_accuracy(self.learned, self.order)

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Results) or self.lower_is_better != other.lower_is_better:
            return NotImplemented
        return self.objective > other.objective if self.lower_is_better else self.objective < other.objective

    def __le__(self, other: object) -> bool:
        if not isinstance(other, Results) or self.lower_is_better != other.lower_is_better:
            return NotImplemented
        return self.objective >= other.objective if self.lower_is_better else self.objective <= other.objective

    def to_dict(self) -> Json:
        """Return the content of `results.json`: plain numbers, strings, lists and dictionaries."""
        return {
            **({} if type(self) is Results else {CLASSES_KEY: references_of(type(self))}),
            "setting": self.setting,
            "method": self.method,
            "dataset": self.dataset,
            "seed": self.seed,
            f"{self.measure.key}_matrix": [_numbers(row) for row in self.accuracy_matrix],
            self.measure.online_key: [[int(samples), float(value)] for samples, value in self.online_curve],
            "metrics": self.metrics,
            "cost": {name: value for name, value in asdict(self.cost).items() if value is not None},
            "versions": dict(self.versions),
            "config": plain(self.config),
            **{name: getattr(self, name) for name in self.own_entries},
            **({} if not self.validation_matrix else self._held_out_entries()),
            **({} if self.phase_tasks is None else {"phase_tasks": list(self.phase_tasks)}),
            **({"learning_curves": list(map(_numbers, self.learning_curves))} if self.learning_curves else {}),
            **({} if self.slices is None else {"slices": self.slices.to_dict()}),
            **({"class_names": list(self.class_names)} if self.class_names else {}),
            **({"task_names": list(self.task_names)} if self.task_names else {}),
            **({"phases_before": self.phases_before} if self.phases_before else {}),
            **({"reproduction": self.reproduction} if self.reproduction else {}),
        }

    def _validation_metrics(self) -> dict[str, float | None]:
        if not self.validation_matrix:
            return {}
        average = _mean_of_known(self.validation_matrix[-1])
        key = self.measure.key
        return {f"validation_{key}": self.validation[-1], f"average_validation_{key}": average}

    def _held_out_entries(self) -> Json:
        name = f"validation_{self.measure.key}"
        return {name: _numbers(self.validation), f"{name}_matrix": list(map(_numbers, self.validation_matrix))}

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Names of the entries that a file of these results has."""
        values = (f"{cls.measure.key}_matrix", cls.measure.online_key)
        return (*("setting", "method", "dataset", "seed"), *values, *_OF_ALL, *cls.own_entries)

    @classmethod
    def optional_keys(cls) -> frozenset[str]:
        """Names of the entries that a file of these results may have."""
        held_out = f"validation_{cls.measure.key}"
        return frozenset({CLASSES_KEY, held_out, f"{held_out}_matrix", *_OPTIONAL, *cls.optional_entries})

    @classmethod
    def from_dict(cls, data: Json) -> Self:
        """Restore results from `to_dict()`. Missing fields are None, and `num_phases` follows from the matrix.

        Raises:
            DataError: If a key is missing, unknown, or has a value of the wrong type.
        """
        if isinstance(data, dict):
            cls, data = class_for(data, cls)
        keys, optional = cls.keys(), cls.optional_keys()
        matrix, online = f"{cls.measure.key}_matrix", cls.measure.online_key
        if not isinstance(data, dict) or data.keys() - optional != set(keys):
            got = sorted(data) if isinstance(data, dict) else type(data).__name__
            raise DataError(f"Results have exactly the keys {', '.join(keys)}, got {got}; pass what redwood wrote.")
        check_results(data, cls.measure, {**cls.own_entries, **cls.optional_entries}, Cost, USES)
        try:
            order = [int(task) for task in data["phase_tasks"]] if "phase_tasks" in data else None
            results: Self = cls(
                setting=data["setting"],
                method=data["method"],
                dataset=data["dataset"],
                seed=data["seed"],
                num_phases=len(order) if order else _planned_phases(data[matrix], data["metrics"]),
                accuracy_matrix=[_numbers(row) for row in data[matrix]],
                online_curve=[(int(samples), float(value)) for samples, value in data[online]],
                cost=Cost(**data["cost"]),
                config=dict(data["config"]),
                versions=dict(data["versions"]),
                validation_matrix=list(map(_numbers, data.get(f"validation_{cls.measure.key}_matrix", []))),
                phase_tasks=order,
                learning_curves=list(map(_numbers, data.get("learning_curves", []))),
                slices=SliceScores(**data["slices"]) if "slices" in data else None,
                class_names=list(data.get("class_names", [])),
                task_names=list(data.get("task_names", [])),
                phases_before=data.get("phases_before", 0),
                reproduction=dict(data.get("reproduction", {})),
            )
            if any(len(row) != len(results.task_names) for row in results.accuracy_matrix if results.task_names):
                raise ValueError(f"{len(results.task_names)} task_names do not fit the tasks of the matrix")
            for name in (*cls.own_entries, *(name for name in cls.optional_entries if name in data)):
                results._load_entry(name, data[name])
            results._loaded_forward_transfer = (len(results.accuracy_matrix), data["metrics"]["forward_transfer"])
            results.to_dict()
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"Results hold an entry that redwood does not write ({error!r}); pass them as written."
            ) from error
        return results

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict()` as JSON, atomically.

        Args:
            path: File to write; its folder is made if missing.

        Raises:
            DataError: If a number is not finite; nothing is written then.
        """
        write_json(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that `save` wrote.

        Raises:
            DataError: If the file is missing, cut short, or not the results of a run.
        """
        content = read_json(Path(path))
        try:
            return cls.from_dict(content)
        except DataError as error:
            raise DataError(f"In the file {path}: {error}") from error

    def _load_entry(self, name: str, value: object) -> None:
        """Take a further entry of the file of a subclass."""
        setattr(self, name, value)

    def _online(self) -> float | None:
        return metrics.online_accuracy(self.online_curve)

    def _as_gains(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values, negated if lower is better: transfer and forgetting count gains and losses."""
        return -values if self.lower_is_better else values

    def _forgetting(self, gains: NDArray[np.float64]) -> float | None:
        return self._if_any_came_before(gains, metrics.forgetting(gains, self.order))

    def _if_any_came_before(self, matrix: NDArray[np.float64], value: float | None) -> float | None:
        """The value of a metric of earlier tasks; None if all of them were trained in runs that cannot be tested."""
        return None if self.phases_before and matrix.shape[1] == 1 else value

    def _forward_transfer(self, gains: NDArray[np.float64]) -> float | None:
        if self.untrained_accuracy is not None:
            untrained = self._as_gains(np.array(self.untrained_accuracy[: gains.shape[1]]))
            return metrics.forward_transfer(gains, untrained, self.order)
        if self._loaded_forward_transfer is not None and self._loaded_forward_transfer[0] == len(gains):
            return self._loaded_forward_transfer[1]
        return None


@dataclass(kw_only=True)
class RegressionResults(Results):
    """The outcome of a run that predicts numbers. All accuracies above are RMSEs here.

    The RMSE of a task is the root of the mean squared error over its samples and the components of their targets.
    """

    lower_is_better: ClassVar[bool] = True
    measure: ClassVar[Measure] = RMSE

    @property
    def rmse_matrix(self) -> list[list[float | None]]:
        """R (P, T): RMSE on task j after phase i."""
        return self.accuracy_matrix

    def _online(self) -> float | None:
        return metrics.online_rmse(self.online_curve)


def mean_and_std(results: Sequence[Results]) -> dict[str, tuple[float, float] | None]:
    """Return mean and sample standard deviation (n - 1 in the denominator) over runs, for each of their metrics.

    Args:
        results: Runs of one measure that differ in their seed.

    Returns:
        Metric -> (mean, standard deviation); the deviation of one run is 0.0; None if a run lacks the metric.

    Raises:
        ValueError: If there are no results.
    """
    if not results:
        raise ValueError("There are no results to average; pass at least one run.")
    runs = [result.metrics for result in results]
    summary: dict[str, tuple[float, float] | None] = {}
    for name in dict.fromkeys(name for run in runs for name in run):
        values = [run.get(name) for run in runs]
        known = [value for value in values if value is not None]
        deviation = float(np.std(known, ddof=1)) if len(known) > 1 else 0.0
        summary[name] = (float(np.mean(known)), deviation) if len(known) == len(values) else None
    return summary


def _mean_of_known(row: Sequence[float | None]) -> float | None:
    known = [value for value in row if value is not None]
    return sum(known) / len(known) if known else None


def _numbers(row: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else float(value) for value in row]


def _planned_phases(matrix: list[list[float | None]], stored: dict[str, float | None]) -> int:
    # The file does not hold the number of phases. One row of several tasks may be all of a single-phase run: then the
    # forgetting is undefined. Or it is the start of a longer run: then the forgetting is that of one task, 0.
    single = not matrix or (len(matrix) == 1 and stored["forgetting"] is None)
    return 1 if single else len(matrix[0])
