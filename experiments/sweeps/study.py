"""The trials of a sweep in Optuna's journal: past trials, their ends, and the choice of the next ones."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from redwood.core.errors import DataError, RedwoodError
from redwood.core.extras import load_extra
from redwood.core.files import refuse_unreadable
from redwood.core.seeding import derive_seed
from redwood.experiments.sweeps.space import Choices, Range, Space, Value, size_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

JOURNAL = "journal.log"
RUNNING, COMPLETE, PRUNED, FAILED = "running", "complete", "pruned", "failed"
_NAME = "sweep"  # of the only study in the journal
_ATTEMPTS = 10  # to get a configuration that was not tried yet, before one of the rest is drawn
_STATES = {"RUNNING": RUNNING, "WAITING": RUNNING, "COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED}


def require_optuna() -> None:
    """Raise `RedwoodError` if Optuna is not installed."""
    load_extra("optuna", "sweep", "sweep")


@dataclass(frozen=True)
class Ending:
    """The end of a trial.

    Attributes:
        state: `COMPLETE`, `PRUNED` (it ended early) or `FAILED`.
        values: The value of each objective; empty unless the trial is complete.
        curve: The score after each phase (P,).
        flops: FLOPs for all uses.
        seconds: Seconds of the run.
        reason: The reason of its failure.
    """

    state: str
    values: tuple[float, ...] = ()
    curve: tuple[float | None, ...] = ()
    flops: float = 0.0
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Tried:
    """A trial.

    Attributes:
        number: Its number, from 0 on.
        parameters: The value of each swept option.
        ending: How it ended; its state is `RUNNING` until then.
    """

    number: int
    parameters: Mapping[str, Value]
    ending: Ending = field(default_factory=lambda: Ending(RUNNING))

    @property
    def is_over(self) -> bool:
        """True if it has ended."""
        return self.ending.state != RUNNING


class Study:
    """The trials of one sweep; one process at a time writes to its folder.

    Trials come in rounds. All trials of a round are chosen together, once the round before is over. So trial n depends
    only on the seed and the trials of earlier rounds. The order in which trials end, and their number at once, do not
    matter. Within a round the trials chosen before count as bad ones (the "constant liar" of Ginsbourger et al., 2010),
    so that they lie apart.

    The sampler is Optuna's tree-structured Parzen estimator (Bergstra et al., "Algorithms for hyper-parameter
    optimization", NeurIPS 2011); for several objectives, that of Ozaki et al. (GECCO 2020).
    """

    def __init__(
        self,
        folder: Path,
        space: Space,
        *,
        directions: Sequence[str],
        seed: int,
        in_round: int,
        first: Mapping[str, Value] | None = None,
    ) -> None:
        """Open the journal of a sweep, or begin it.

        Args:
            folder: The folder of the sweep.
            space: The search space.
            directions: `maximize` or `minimize` for each objective.
            seed: Seed of all choices.
            in_round: Trials of a round.
            first: The configuration of trial 0 (default: it is chosen as the others are).

        Raises:
            RedwoodError: If Optuna is not installed, or the journal is damaged.
        """
        self._optuna = optuna = load_extra("optuna", "sweep", "sweep")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        journals = load_extra("optuna.storages.journal", "sweep", "sweep")
        self._path, self._space, self._seed, self._in_round = folder / JOURNAL, space, seed, in_round
        self._first = first
        self._directions = list(directions)
        self._distributions = {name: self._distribution(parameter) for name, parameter in space.items()}
        with self._reading():
            self._storage = optuna.storages.JournalStorage(journals.JournalFileBackend(str(self._path)))
            if not self._storage.get_all_studies():
                optuna.create_study(storage=self._storage, study_name=_NAME, directions=self._directions)
            study = optuna.load_study(storage=self._storage, study_name=_NAME)
            self._id = self._storage.get_study_id_from_name(_NAME)
            known = [direction.name.lower() for direction in study.directions]
            if known != self._directions or any(trial.distributions != self._distributions for trial in study.trials):
                raise DataError(f"The journal {self._path} is of another sweep; start the sweep anew.")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Refuse a journal that is damaged."""
        refuse_unreadable(self._path)
        cut_unfinished_line(self._path)
        try:
            yield
        except RedwoodError:
            raise
        except (ValueError, LookupError, AssertionError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"The journal {self._path} is damaged ({error}); start the sweep anew.") from error

    def _distribution(self, parameter: Range | Choices) -> "BaseDistribution":
        kinds = self._optuna.distributions
        if isinstance(parameter, Choices):
            categories: BaseDistribution = kinds.CategoricalDistribution(parameter.values)
            return categories
        kind = kinds.IntDistribution if parameter.whole else kinds.FloatDistribution
        numbers: BaseDistribution = kind(*parameter.ends, log=parameter.log)
        return numbers

    def trials(self) -> list[Tried]:
        """All trials so far, by their numbers."""
        with self._reading():
            return [_tried(trial) for trial in self._frozen()]

    def _frozen(self) -> "list[FrozenTrial]":
        return list(self._storage.get_all_trials(self._id))

    def open_round(self, total: int) -> list[Tried]:
        """Choose the trials of the next round, unless the last one is not over yet.

        Args:
            total: How many trials the sweep has.

        Returns:
            The trials of the last round. None of them is left to run if all trials of the sweep are over.
        """
        with self._reading():
            trials = self._frozen()
            is_whole = len(trials) % self._in_round == 0  # else a process was killed while it chose them
            if not (is_whole and trials and not all(trial.state.is_finished() for trial in trials)):
                stop = min(self._begin(len(trials)) + self._in_round, total)
                for number in range(len(trials), stop):
                    chosen = self._choose(number, self._frozen())
                    self._storage.create_new_trial(self._id, self._running(chosen))
            trials = self._frozen()
            return [_tried(trial) for trial in trials[self._begin(len(trials) - 1) :]]

    def _begin(self, number: int) -> int:
        """The first trial of the round of a trial."""
        return number // self._in_round * self._in_round

    def earlier(self, number: int) -> list[Tried]:
        """The trials of the rounds before that of trial `number`: what is known when it is chosen."""
        return self.trials()[: self._begin(number)]

    def _running(self, parameters: Mapping[str, Value]) -> "FrozenTrial":
        optuna = self._optuna
        trial: FrozenTrial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING, params=dict(parameters), distributions=self._distributions
        )
        return trial

    def _choose(self, number: int, trials: "list[FrozenTrial]") -> dict[str, Value]:
        """The configuration of trial `number`; one that was tried before only if the space is real."""
        if number == 0 and self._first is not None:
            return dict(self._first)
        before = [_key(trial.params) for trial in trials]
        for attempt in range(_ATTEMPTS):
            chosen = self._suggest(number, attempt, trials)
            if _key(chosen) not in before:
                return chosen
        if size_of(self._space) == float("inf"):
            return chosen
        values = [_all_values(parameter) for parameter in self._space.values()]
        rest = [dict(zip(self._space, point, strict=True)) for point in product(*values)]
        rest = [point for point in rest if _key(point) not in before]
        return rest[derive_seed(self._seed, "sweep", number) % len(rest)]

    def _suggest(self, number: int, attempt: int, trials: "list[FrozenTrial]") -> dict[str, Value]:
        optuna = self._optuna
        sampler = optuna.samplers.TPESampler(seed=derive_seed(self._seed, "sweep", number, attempt) % 2**32)
        study = optuna.create_study(directions=self._directions, sampler=sampler)
        begin = self._begin(number)
        study.add_trials(trials[:begin])
        study.add_trials([self._running(trial.params) for trial in trials[begin:number]])
        return dict(study.ask(self._distributions).params)

    def finish(self, number: int, ending: Ending) -> None:
        """Write down how a trial ended, unless that is known."""
        states = self._optuna.trial.TrialState
        with self._reading():
            trial = self._frozen()[number]
            if trial.state.is_finished():
                return
            key = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
            for phase, score in enumerate(ending.curve):
                if score is not None:
                    self._storage.set_trial_intermediate_value(key, phase, score)
            told = {"flops": ending.flops, "seconds": ending.seconds, "reason": ending.reason, "curve": ending.curve}
            for name, value in told.items():
                self._storage.set_trial_user_attr(key, name, value)
            state = {COMPLETE: states.COMPLETE, PRUNED: states.PRUNED, FAILED: states.FAIL}[ending.state]
            self._storage.set_trial_state_values(key, state, ending.values or None)

    def importances(self) -> list[dict[str, float]]:
        """Return the importance of each option for each objective, by the fANOVA of Hutter et al. (ICML 2014).

        The importances for an objective add up to 1. They are empty if fewer than two trials are complete, or if all
        trials have the same value.
        """
        optuna = self._optuna
        study = optuna.create_study(directions=self._directions)
        with self._reading():
            study.add_trials(self._frozen())
        complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
        found: list[dict[str, float]] = []
        for objective in range(len(self._directions)):
            values = {trial.values[objective] for trial in complete}
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self._seed % 2**32)
            importances = (
                optuna.importance.get_param_importances(
                    study, evaluator=evaluator, target=lambda trial, number=objective: trial.values[number]
                )
                if len(values) > 1
                else {}
            )
            found.append({name: float(value) for name, value in importances.items()})
        return found


def cut_unfinished_line(path: Path) -> None:
    """Remove an unfinished last line of a file: its process was killed, or the disk was full, while it was written."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        written = file.read()
        if not written.endswith(b"\n"):
            file.truncate(written.rfind(b"\n") + 1)


def _tried(trial: "FrozenTrial") -> Tried:
    state = _STATES[trial.state.name]
    known = trial.user_attrs
    if state == RUNNING:
        return Tried(trial.number, trial.params)
    values = tuple(trial.values) if state == COMPLETE else ()
    ending = Ending(state, values, tuple(known["curve"]), known["flops"], known["seconds"], known["reason"])
    return Tried(trial.number, trial.params, ending)


def _key(parameters: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
    return tuple(sorted(parameters.items()))


def _all_values(parameter: Range | Choices) -> Sequence[Value]:
    return parameter.values if isinstance(parameter, Choices) else range(int(parameter.low), int(parameter.high) + 1)
