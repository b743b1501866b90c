"""The plan of a sweep: a file in its folder, from which the sweep can be resumed."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from redwood.core.errors import NotApplicableError, RedwoodError
from redwood.core.schema import ANYTHING, ListOf, MapOf, Number, Record, Text
from redwood.experiments.command_line.arguments import MOST_RUNS, UsageError, option_names
from redwood.experiments.command_line.options import Options, parse_options
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.command_line.trust import options_of, refuse_untrusted
from redwood.experiments.launchers.plan_file import read_plan, write_plan
from redwood.experiments.sweeps.space import Written
from redwood.settings.scores.measure import MEASURES, RMSE, Measure

FORMAT = 1
FILE = "sweep.yaml"
BEST = "best"  # the folder of the best configuration, a comparison of one pair
HELD_OUT = 0.1  # share of the training samples, unless the user says another one
SCORE, FLOPS = "accuracy", "flops"
ALL_TASKS = "all_tasks"
_FIRST = re.compile(r"first_([1-9]\d*)_tasks")
_PLAN = Record(
    {
        "sweep": Number(whole=True),
        "pair": Record({"setting": Text(), "method": Text()}),
        "arguments": ListOf(Text(empty=True)),
        "seeds": Number(low=1, high=MOST_RUNS, whole=True),
        "class_orders": Number(low=1, high=MOST_RUNS, whole=True, optional=True),
        "space": MapOf(ANYTHING),
        "trials": Number(low=1, high=MOST_RUNS, whole=True),
        "in_round": Number(low=1, whole=True),
        "protocol": Text(),
        "objectives": ListOf(Text(), least=1),
        "validation": Number(low=0, optional=True),
        "phases": Number(low=1, whole=True),
        "measure": Text(),
    }
)


def is_sweep(folder: Path) -> bool:
    """True if a sweep was started in this folder."""
    return (folder / FILE).is_file()


@dataclass
class SweepPlan:
    """One pair, what is tried of its options, and how trials are scored.

    Attributes:
        folder: Where it is written; each trial has a folder in it.
        pair: The pair to run, by names that lead to the same classes in any folder that it is resumed from.
        arguments: Options of the command line that all trials and the best configuration share.
        n_seeds: Seeds that the best configuration is run with.
        n_orders: Orders of the classes, with `n_seeds` seeds each; None: each run draws one from its seed.
        space: The swept options, as they were written.
        n_trials: Configurations to try.
        in_round: Trials that are chosen together.
        protocol: `ALL_TASKS`, or `first_2_tasks` and the like.
        objectives: `SCORE`, or that and `FLOPS`.
        validation: The share of samples that trials hold out in addition to `arguments`; None: nothing is added.
        phases: Phases that a trial trains.
        measure: Key of the measure of the score.
    """

    folder: Path
    pair: Pair
    arguments: list[str]
    n_seeds: int
    n_orders: int | None
    space: dict[str, Written]
    n_trials: int
    in_round: int
    protocol: str
    objectives: list[str]
    validation: float | None
    phases: int
    measure: str

    @property
    def trial_arguments(self) -> list[str]:
        """Options of every trial: as given, without tests, and with samples held out."""
        held_out = [] if self.validation is None else [f"--validation={self.validation}"]
        return [*self.arguments, *held_out, "--eval_tasks=none"]

    @property
    def score(self) -> Measure:
        """The measure of the score."""
        return MEASURES[self.measure]

    @property
    def lower_is_better(self) -> bool:
        """True if the lower score is the better one."""
        return self.score is RMSE

    @property
    def directions(self) -> list[str]:
        """The direction of each objective for Optuna: `minimize` or `maximize`."""
        of_score = "minimize" if self.lower_is_better else "maximize"
        return [of_score if name == SCORE else "minimize" for name in self.objectives]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RedwoodError: If the file cannot be read, or is none of this kind.
        """
        path = folder / FILE
        content = read_plan(path, _PLAN, "sweep", (FORMAT,))
        if content["measure"] not in MEASURES or not set(content["objectives"]) <= {SCORE, FLOPS}:
            raise RedwoodError(f"{path} names a measure or an objective that does not exist; start the sweep anew.")
        return cls(
            folder,
            Pair(**content["pair"]),
            content["arguments"],
            content["seeds"],
            content["class_orders"],
            content["space"],
            content["trials"],
            content["in_round"],
            content["protocol"],
            content["objectives"],
            content["validation"],
            content["phases"],
            content["measure"],
        )

    def save(self) -> None:
        """Write the file, as the first one of the folder.

        Raises:
            RedwoodError: If that cannot be done.
        """
        content = {
            "sweep": FORMAT,
            "pair": self.pair.record(),
            "arguments": self.arguments,
            "seeds": self.n_seeds,
            "class_orders": self.n_orders,
            "space": self.space,
            "trials": self.n_trials,
            "in_round": self.in_round,
            "protocol": self.protocol,
            "objectives": self.objectives,
            "validation": self.validation,
            "phases": self.phases,
            "measure": self.measure,
        }
        write_plan(self.folder / FILE, content)

    def refuse_untrusted(self) -> None:
        """Raise `RedwoodError` if it names code, which would be run."""
        for options in (self.pair.record(), options_of(self.arguments), self.space):
            refuse_untrusted(options, self.folder / FILE, "resume")


def parse_objectives(text: str) -> list[str]:
    """The objectives of `--objectives`.

    Raises:
        UsageError: If one is unknown, or the score is missing.
    """
    objectives = [name.strip() for name in text.split(",")]
    if objectives not in ([SCORE], [SCORE, FLOPS]):
        raise UsageError(f"--objectives {text} is unknown; choose {SCORE}, or {SCORE},{FLOPS}.")
    return objectives


def refuse_without_score(pair: Pair) -> None:
    """Raise `NotApplicableError` if no samples can be held out under a setting, and there is no other score."""
    setting, _ = pair.load()
    can_hold_out = "validation" in setting.option_names() and "validation" not in setting.unused_options
    if not can_hold_out and not setting.assumptions.rewards:
        raise NotApplicableError(
            f"sweep goes by held-out samples, never by tests, but {pair.setting} can hold out none; choose the "
            "options under another setting, and give them here."
        )


def held_out_share(options: Options, arguments: list[str]) -> float | None:
    """Return the share of samples that trials hold out in addition to the user's options; None: add no share.

    Args:
        options: The options of a trial.
        arguments: The options that the user has given.

    Raises:
        UsageError: If the user wants none held out.
    """
    if type(options.setting).assumptions.rewards:
        return None
    if options.setting.open_stream().holds_out:
        return None
    if "validation" in option_names(arguments):
        given = getattr(options.setting, "validation", 0.0)
        raise UsageError(
            f"--validation {given:g} holds out no sample, but sweep goes by held-out samples; raise it, or leave it "
            "out."
        )
    return HELD_OUT


def phases_of(protocol: str, num_phases: int, pair: Pair) -> int:
    """Return the number of phases that a trial trains under a protocol.

    Args:
        protocol: `ALL_TASKS`, or a number of tasks as in `first_2_tasks`. Then options are chosen on the first tasks,
            and kept for the whole stream (Chaudhry et al., "Efficient lifelong learning with A-GEM", ICLR 2019,
            section 2).
        num_phases: Phases of the stream.
        pair: The pair, for messages.

    Raises:
        UsageError: If the protocol is unknown, or the stream has no such first tasks.
    """
    if protocol == ALL_TASKS:
        return num_phases
    match = _FIRST.fullmatch(protocol)
    if match is None:
        raise UsageError(f"--protocol {protocol} is unknown; choose {ALL_TASKS}, or first_2_tasks with your number.")
    first = int(match[1])
    if num_phases == 1:
        raise UsageError(
            f"--protocol {protocol} trains some tasks only, but {pair.setting} has one phase for all; use {ALL_TASKS}."
        )
    if first >= num_phases:
        raise UsageError(
            f"--protocol {protocol} leaves no task of the {num_phases}; use a smaller number, or {ALL_TASKS}."
        )
    return first


def tuned(pair: Pair, arguments: list[str]) -> Options:
    """The options of a trial that tries nothing, which opens no test samples."""
    return parse_options(pair, [*arguments, "--eval_tasks=none"])
