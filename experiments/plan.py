"""What a comparison was asked for, as a file in its folder, so that it can be gone on with."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Self

import yaml

from redwood.core.errors import RedwoodError
from redwood.core.files import plain, write_atomically
from redwood.core.schema import ListOf, Number, Record, Text, check
from redwood.experiments.jobs import Job
from redwood.experiments.launchers.resources import resources_needed
from redwood.experiments.options import Options
from redwood.experiments.pairs import Pair
from redwood.experiments.runner import label_of, refuse_other_results
from redwood.experiments.trust import options_of, refuse_untrusted
from redwood.runs.folder import RunFolder
from redwood.settings.config import describe_run
from redwood.settings.table import name_of_setting

FORMAT = 1
FILE = "comparison.yaml"
_PLAN = Record(
    {
        "comparison": Number(whole=True),
        "pairs": ListOf(Record({"setting": Text(), "method": Text()}), least=1),
        "arguments": ListOf(Text(empty=True)),
        "seeds": Number(low=1, whole=True),
    }
)


def is_comparison(folder: Path) -> bool:
    """Whether a comparison was started in this folder."""
    return (folder / FILE).is_file()


@dataclass
class ComparisonPlan:
    """The pairs of a comparison, and the options and seeds that all of them share.

    Attributes:
        folder: Where it is written; each run has a folder in it.
        pairs: What to compare, by names that lead to the same classes from wherever it is resumed.
        arguments: Options of the command line; each pair takes its own.
        n_seeds: Runs per pair, with consecutive seeds.
    """

    folder: Path
    pairs: list[Pair]
    arguments: list[str]
    n_seeds: int

    @classmethod
    def of(cls, folder: Path, pairs: list[Pair], arguments: list[str], n_seeds: int) -> Self:
        """ComparisonPlan a new comparison."""
        return cls(folder, [_lasting(pair) for pair in pairs], arguments, n_seeds)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RedwoodError: If the file cannot be read, or is none of this kind.
        """
        try:
            content = yaml.safe_load((folder / FILE).read_text())
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise RedwoodError(f"{folder / FILE} is damaged; start the comparison anew.") from error
        if isinstance(content, dict) and content.get("comparison", FORMAT) != FORMAT:
            raise RedwoodError(f"{folder / FILE} was written by another version of redwood; start it anew.")
        check(content, _PLAN, str(folder / FILE), "start the comparison anew")
        return cls(folder, [Pair(**pair) for pair in content["pairs"]], content["arguments"], content["seeds"])

    def save(self) -> None:
        """Write the file, as the first one of the folder.

        Raises:
            RedwoodError: If that cannot be done.
        """
        content = {
            "comparison": FORMAT,
            "pairs": [asdict(pair) for pair in self.pairs],
            "arguments": self.arguments,
            "seeds": self.n_seeds,
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / FILE, yaml.safe_dump(content, sort_keys=False).encode())
        except OSError as error:
            raise RedwoodError(f"--run_dir {self.folder} cannot be written ({error.strerror}).") from error

    def refuse_untrusted(self) -> None:
        """Raise `RedwoodError` if it names code, which would be run."""
        for options in (*map(asdict, self.pairs), options_of(self.arguments)):
            refuse_untrusted(options, self.folder / FILE, "--resume")

    def refuse_other_runs(self, parsed: list[Options | RedwoodError]) -> None:
        """Raise `RedwoodError` if the results or checkpoints in a run's folder are of a run with other options.

        The data is that of the first complete run, if there is anything left to do.
        """
        runs = list(zip(chain(*self.jobs(parsed)), self._options(parsed), strict=True))
        complete = [job for job, _ in runs if job.complete]
        first = complete[0] if 0 < len(complete) < len(runs) else None
        for job, options in runs:
            config = plain(describe_run(options.setting, options.method, options.run))
            if job.complete:
                refuse_other_results(job.results(), config, job.folder, FILE)
            if job is first or not job.complete:
                data = options.setting.open_stream().fingerprint() if job is first else None
                RunFolder(job.folder, resume=True, options_file="the comparison").check(config, data)

    def _options(self, parsed: list[Options | RedwoodError]) -> Iterator[Options]:
        """Those of each run, in the order of `jobs`."""
        for options in parsed:
            if isinstance(options, Options):
                first = options.setting.seed
                for seed in range(first, first + self.n_seeds):
                    yield replace(options, setting=replace(options.setting, seed=seed))

    def jobs(self, parsed: list[Options | RedwoodError]) -> Iterator[list[Job]]:
        """The runs of each pair, one per seed; none of a pair that cannot have its options."""
        for pair, options, name in zip(self.pairs, parsed, self._folder_names(), strict=True):
            if isinstance(options, RedwoodError):
                yield []
                continue
            first = options.setting.seed
            yield [
                Job(
                    pair,
                    tuple(self.arguments),
                    seed,
                    self.folder / (f"{name}-seed{seed}" if self.n_seeds > 1 else name),
                    width=resources_needed(options.run, options.setting.workers),
                )
                for seed in range(first, first + self.n_seeds)
            ]

    def _folder_names(self) -> list[str]:
        """A folder for each pair; methods of one class name, from two files, are numbered."""
        labels = [label_of(pair) for pair in self.pairs]
        return [
            label if labels.count(label) == 1 else f"{label}-{1 + labels[:number].count(label)}"
            for number, label in enumerate(labels)
        ]


def _lasting(pair: Pair) -> Pair:
    """The pair by names that do not depend on the current folder; keys are such names."""
    if ":" not in pair.setting + pair.method:
        return pair
    setting, method = pair.load()
    return Pair(name_of_setting(setting), method.reference())
