"""The plan of a comparison: a file in its folder, from which the comparison can be resumed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Self

from redwood.core.calls import python_call
from redwood.core.checks import LARGEST_SEED
from redwood.core.errors import RedwoodError
from redwood.core.files import plain
from redwood.core.imports import allow
from redwood.core.parts import flat, option_fields
from redwood.core.schema import ListOf, Number, Record, Text
from redwood.engine.folder import RunFolder
from redwood.experiments.command_line.arguments import MOST_PROCESSES, MOST_RUNS, UsageError, option_names
from redwood.experiments.command_line.options import Options, choose, given_values
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.command_line.trust import options_of, refuse_untrusted
from redwood.experiments.launchers.jobs import CLASS_ORDER_SEED, Job
from redwood.experiments.launchers.plan_file import read_plan, write_plan
from redwood.experiments.launchers.resources import resources_needed
from redwood.experiments.runs.given import FromPython
from redwood.experiments.runs.runner import label_of, refuse_other_results
from redwood.settings.config import describe_run, is_marked
from redwood.settings.scores.cost import TuningCost
from redwood.settings.table import name_of_setting

FORMAT = 2
READABLE = (1, FORMAT)  # a comparison of format 1 has no class orders
FOUND = "sweep.json"  # what a sweep has found
FILE = "comparison.yaml"
_PLAN = Record(
    {
        "comparison": Number(whole=True),
        "pairs": ListOf(
            Record({"setting": Text(), "method": Text(), "bounds": Text()}, optional=frozenset({"bounds"})), least=1
        ),
        "arguments": ListOf(Text(empty=True)),
        "seeds": Number(low=1, high=MOST_RUNS, whole=True),
        "class_orders": Number(low=1, high=MOST_RUNS, whole=True, optional=True),
        "tuning": Record(dict.fromkeys(TuningCost._fields, Number(low=0))),
        "jobs": Number(low=1, high=MOST_PROCESSES, whole=True),
    },
    optional=frozenset({"class_orders", "tuning", "jobs"}),
)


def is_comparison(folder: Path) -> bool:
    """True if a comparison was started in this folder."""
    return (folder / FILE).is_file()


def is_finished_sweep(folder: Path) -> bool:
    """True if a sweep in this folder has written what it found."""
    return (folder / FOUND).is_file()


@dataclass
class ComparisonPlan:
    """The pairs of a comparison, and the options and seeds that all of them share.

    Attributes:
        folder: Where it is written; each run has a folder in it.
        pairs: The pairs to compare, by names that lead to the same classes in any folder that it is resumed from.
        arguments: Options of the command line; each pair takes its own.
        n_seeds: Seeds per pair, which follow each other.
        n_orders: Orders of the classes, drawn from the seeds 0, 1, ...; each is run with `n_seeds` seeds of its own.
            None: each run draws its order from its seed. Settings without classes have none.
        tuning_cost: The cost of the sweep that has chosen the arguments; None if no sweep has.
        at_once: Runs at once (`--jobs`) that the comparison was started with; None: as many as there is room for.
    """

    folder: Path
    pairs: list[Pair]
    arguments: list[str]
    n_seeds: int
    n_orders: int | None = None
    tuning_cost: TuningCost | None = None
    at_once: int | None = None

    @classmethod
    def of(
        cls,
        folder: Path,
        pairs: list[Pair],
        arguments: list[str],
        n_seeds: int,
        n_orders: int | None = None,
        at_once: int | None = None,
    ) -> Self:
        """Plan a new comparison.

        Raises:
            UsageError: If the orders of the classes are set otherwise, too, or no setting has any.
        """
        plan = cls(folder, [lasting(pair) for pair in pairs], arguments, n_seeds, n_orders, at_once=at_once)
        if n_orders is not None:
            plan._check_orders()
        return plan

    def _check_orders(self) -> None:
        for option in sorted({"class_order", "class_order_seed"} & option_names(self.arguments)):
            raise UsageError(
                f"--class_orders {self.n_orders} draws the order of the classes, and --{option} sets it; "
                "leave one of them out."
            )
        if not any(has_class_order(pair, self.arguments) for pair in self.pairs):
            raise UsageError(
                f"--class_orders {self.n_orders} needs tasks that are made of classes, unlike those of "
                f"{self.pairs[0].setting}; leave it out."
            )

    def refuse_too_many(self, first_seed: int) -> None:
        """Raise `UsageError` if it has more runs than anyone waits for, or its last seed is none.

        Args:
            first_seed: The seed of the first run.
        """
        per_pair = self.n_seeds * (self.n_orders or 1)
        orders = "" if self.n_orders is None else f" and --class_orders {self.n_orders}"
        asked = f"--seeds {self.n_seeds}{orders}"
        if per_pair * len(self.pairs) > MOST_RUNS:
            raise UsageError(f"{asked} make {per_pair * len(self.pairs)} runs; ask for at most {MOST_RUNS}.")
        last = first_seed + per_pair - 1
        if last > LARGEST_SEED:
            raise UsageError(
                f"{asked} from --seed {first_seed} on need the seed {last}, and seeds end at {LARGEST_SEED}; "
                "use a smaller --seed."
            )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RedwoodError: If the file cannot be read, or is none of this kind.
        """
        content = read_plan(folder / FILE, _PLAN, "comparison", READABLE)
        return cls(
            folder,
            [Pair(**pair) for pair in content["pairs"]],
            content["arguments"],
            content["seeds"],
            content.get("class_orders"),
            TuningCost(**content["tuning"]) if "tuning" in content else None,
            content.get("jobs"),
        )

    def save(self) -> None:
        """Write the file, as the first one of the folder.

        Raises:
            RedwoodError: If that cannot be done.
        """
        content = {
            "comparison": FORMAT,
            "pairs": [pair.record() for pair in self.pairs],
            "arguments": self.arguments,
            "seeds": self.n_seeds,
            "class_orders": self.n_orders,
            **({} if self.tuning_cost is None else {"tuning": self.tuning_cost._asdict()}),
            **({} if self.at_once is None else {"jobs": self.at_once}),
        }
        write_plan(self.folder / FILE, content)

    @property
    def objects(self) -> list[str]:
        """The options whose values are objects from Python, which no file can hold."""
        return [name for name, values in options_of(self.arguments).items() if any(map(is_marked, values))]

    def take(self, given: FromPython, changes: Sequence[str]) -> None:
        """Take classes and objects from Python in place of their names, and options in place of those of the plan.

        Raises:
            RedwoodError: If an object from Python is missing, or a class is none of the plan.
        """
        for name in self.objects:
            if name not in option_names(changes):
                call = python_call("resume", self.folder, f"{name}=...")
                raise RedwoodError(
                    f"{self.folder / FILE} cannot hold the {name} of its runs, which was given from Python; go on from "
                    f"Python, by {call}."
                )
        names = {option: [getattr(pair, option) for pair in self.pairs] for option in ("setting", "method")}
        objects = {**given.objects, **given.classes(names, self.folder)}
        self.pairs = [replace(pair, objects=objects) for pair in self.pairs]
        self.arguments += changes

    def refuse_untrusted(self) -> None:
        """Raise `RedwoodError` if it names code, which would be run."""
        named: list[Mapping[str, object]] = [*map(Pair.record, self.pairs), options_of(self.arguments)]
        for options in named:
            refuse_untrusted(options, self.folder / FILE, "resume", self.pairs[0].objects)

    def refuse_other_runs(self, parsed: list[Options | RedwoodError]) -> None:
        """Raise `RedwoodError` if the results or checkpoints in a run's folder are of a run with other options.

        The data is that of the first complete run, if there is anything left to do.
        """
        runs = list(zip(chain(*self.jobs(parsed)), self._options(parsed), strict=True))
        complete = [job for job, _ in runs if job.complete]
        first = complete[0] if 0 < len(complete) < len(runs) else None
        for job, options in runs:
            config = plain(flat(describe_run(options.setting, options.method, options.run)))
            if job.complete:
                refuse_other_results(job.results(), config, job.folder, FILE)
            if job is first or not job.complete:
                data = options.setting.open_stream().fingerprint() if job is first else None
                RunFolder(job.folder, resume=True, options_file="the comparison").check(config, data)

    def _options(self, parsed: list[Options | RedwoodError]) -> Iterator[Options]:
        """Yield the options of each run, in the order of `jobs`."""
        for pair, options in zip(self.pairs, parsed, strict=True):
            if isinstance(options, Options):
                for seed, order in self._repeats(pair, options):
                    setting: Any = options.setting
                    drawn = {} if order is None else {"stream": replace(setting.stream, class_order_seed=order)}
                    yield replace(options, setting=replace(setting, seed=seed, **drawn))

    def _repeats(self, pair: Pair, options: Options) -> list[tuple[int, int | None]]:
        """The seed and the seed of the class order of each run of a pair.

        No two class orders share a seed. A shared seed would affect the mean of each order, so the orders would not be
        independent.
        """
        first = options.setting.seed
        if self.n_orders is None or not has_class_order(pair, self.arguments):
            return [(seed, None) for seed in range(first, first + self.n_seeds)]
        return [(first + number, number // self.n_seeds) for number in range(self.n_orders * self.n_seeds)]

    def jobs(self, parsed: list[Options | RedwoodError]) -> Iterator[list[Job]]:
        """The runs of each pair, by class order and seed; none of a pair that cannot have its options."""
        for pair, options, name in zip(self.pairs, parsed, self._folder_names(), strict=True):
            if isinstance(options, RedwoodError):
                yield []
                continue
            yield [
                Job(
                    pair,
                    (*self.arguments, *(() if order is None else (CLASS_ORDER_SEED, str(order)))),
                    seed,
                    self.folder
                    / f"{name}{f'-seed{seed}' * (self.n_seeds > 1)}{'' if order is None else f'-order{order}'}",
                    width=resources_needed(options.run, options.setting.workers),
                    tuning_cost=self.tuning_cost,
                    draws=number == 0,
                )
                for number, (seed, order) in enumerate(self._repeats(pair, options))
            ]

    def _folder_names(self) -> list[str]:
        """A folder for each pair; methods of one class name, from two files, are numbered."""
        labels = [label_of(pair) for pair in self.pairs]
        return [
            label if labels.count(label) == 1 else f"{label}-{1 + labels[:number].count(label)}"
            for number, label in enumerate(labels)
        ]


def has_class_order(pair: Pair, arguments: Sequence[str]) -> bool:
    """True if the stream that the arguments choose for a pair can draw its class order from a seed."""
    chosen = choose(pair.load()[0], given_values(pair, arguments))
    return any("class_order_seed" in option_fields(part.cls) for part in chosen.all())


def lasting(pair: Pair) -> Pair:
    """The pair by names that do not depend on the current folder; keys are such names."""
    if ":" not in pair.setting + pair.method:
        return pair
    setting, method = pair.load()
    named = replace(pair, setting=name_of_setting(setting), method=method.reference())
    for name in (named.setting, named.method):
        allow(name)  # its module may be another one than what the command line names
    return named
