"""What a comparison was asked for, as a file in its folder, so that it can be gone on with."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import yaml

from redwood.experiments.jobs import Job
from redwood.experiments.options import Options, Pair
from redwood.experiments.places import places_needed
from redwood.experiments.runner import label_of
from redwood.settings.config import name_of_setting
from redwood.settings.errors import RedwoodError
from redwood.settings.run import write_atomically

FORMAT = 1
FILE = "comparison.yaml"


def is_comparison(folder: Path) -> bool:
    """Whether a comparison was started in this folder."""
    return (folder / FILE).is_file()


@dataclass
class Plan:
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
        """Plan a new comparison."""
        return cls(folder, [_lasting(pair) for pair in pairs], arguments, n_seeds)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RedwoodError: If the file cannot be read, or is none of this kind.
        """
        try:
            content = yaml.safe_load((folder / FILE).read_text())
            if content.pop("comparison") != FORMAT:
                raise RedwoodError(f"{folder / FILE} was written by another version of redwood; start it anew.")
            pairs = [Pair(**pair) for pair in content.pop("pairs")]
            plan = cls(folder, pairs, content.pop("arguments"), content.pop("seeds"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
            raise RedwoodError(f"{folder / FILE} is damaged; start the comparison anew.") from error
        return plan

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
                    width=places_needed(options.run, options.setting.workers),
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
