"""The sources of samples: the option `dataset`. Its text or object decides which other options exist."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from redwood.core.checks import check_choice, check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Kind, Part, is_described_part
from redwood.settings.data.catalog import load_dataset, load_in_memory
from redwood.settings.data.columns import PERIODS, Columns
from redwood.settings.data.conversion import HUGGING_FACE, TABLE, TORCH, InMemory, checked_source
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.sources import ARRAY_FILES, TABLE_FILES
from redwood.settings.data.table import DATASETS, OF_IMAGE_FILES


@dataclass
class DataSource(Part):
    """A data set, by its name or from Python, that needs no further options."""

    kinds: ClassVar[tuple[str, ...] | None] = None  # of data from Python that it reads; None: all

    source: Any = field(default="", metadata={"cmd": False})  # name, or what `checked_source` takes
    # Task folders of an earlier run: of a folder of images, only these are taken, where it has some of them.
    folders: Sequence[str] = field(default=(), kw_only=True, metadata={"cmd": False})

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        self.source = checked_source(self.source)
        kind = self.source.kind if isinstance(self.source, InMemory) else ""
        if self.kinds is not None and not isinstance(self.source, str) and kind not in self.kinds:
            raise InvalidOptionError(
                f"{type(self).__name__} reads no data of this kind, {self.source.name}; pass it as dataset=... without "
                f"{type(self).__name__}."
            )

    @property
    def name(self) -> str:
        """The name of the data set in results."""
        return self.source if isinstance(self.source, str) else str(self.source.name)

    @property
    @override
    def text(self) -> str:
        return self.source if isinstance(self.source, str) else f"<{self.name}, given from Python>"

    @property
    def side(self) -> int:
        """Side to which images are resized, in pixels; 0: none is set."""
        return 0

    @property
    def columns(self) -> Columns:
        """The columns of a table."""
        return Columns()

    def load(self, data_dir: str, seed: int, features: tuple[str, ...] = ()) -> Dataset:
        """The data set.

        Args:
            data_dir: Folder that data sets are read from and downloaded to.
            seed: Draws the test samples where the source has no test split of its own.
            features: Names of the features that a table has to have, in this order; empty: any.

        Raises:
            RedwoodError: If it is missing or unreadable, or an option does not fit it.
        """
        if isinstance(self.source, Dataset):
            return self.source
        if isinstance(self.source, str):
            return self.loader(data_dir, seed, features)(self.source)
        return self._checked(load_in_memory(self.source, seed, self.side, self._with(features)))

    def loader(
        self, data_dir: str, seed: int, features: tuple[str, ...] = (), side: int = 0
    ) -> Callable[[str], Dataset]:
        """Loads data sets by name with these options, each of them once; `side` is the side of images if none is set.

        See `load` for the other arguments and the errors.
        """
        folder, columns = Path(data_dir), self._with(features)
        return cache(
            lambda name: self._checked(load_dataset(name, folder, seed, self.side or side, columns, self.folders))
        )

    def _with(self, features: tuple[str, ...]) -> Columns:
        return Columns(**vars(self.columns) | {"features": features})

    def _checked(self, data: Dataset) -> Dataset:
        if self.columns.slices and data.kind != "classes":
            what = "targets are numbers" if data.is_regression else "samples have several labels"
            raise InvalidOptionError(
                f"--slices {self.columns.slices} groups scores of classes, but in {data.name} {what}; leave it out."
            )
        return data


@dataclass
class Images(DataSource):
    """Images, which may be of any size: a folder, or a data set of image files."""

    kinds: ClassVar[tuple[str, ...] | None] = (TORCH,)

    image_size: int = 0  # side to which image files are resized, in pixels (0: the data set's own)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "image_size", 0, 65_536)

    @property
    @override
    def side(self) -> int:
        return self.image_size


@dataclass
class Sliced(DataSource):
    """Data whose samples a column may group."""

    slices: str = ""  # column of the data file that groups samples, for scores by slice (default: the classes)

    @property
    @override
    def columns(self) -> Columns:
        return Columns(slices=self.slices)


@dataclass
class Arrays(Sliced):
    """A file of arrays: .npz, .h5 or .hdf5."""

    kinds: ClassVar[tuple[str, ...] | None] = ()


@dataclass
class Table(Sliced):
    """A table: a .csv or .parquet file, or a DataFrame."""

    kinds: ClassVar[tuple[str, ...] | None] = (TABLE,)

    target_column: str = ""  # column of classes (integers, texts) or numbers (default: target, label or y)
    task_column: str = ""  # column that holds the task of each row
    time_column: str = ""  # column of dates or numbers, in whose order the rows come
    period: str = ""  # a task for each year, quarter, month, week, day or hour of --time_column

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.period:
            return
        check_choice(self, "period", tuple(PERIODS))
        if not self.time_column:
            raise InvalidOptionError(
                f"--period {self.period} needs the column that holds the dates; name it by --time_column."
            )
        if self.task_column:
            raise InvalidOptionError(
                f"--period {self.period} and --task_column {self.task_column} both make tasks; leave one of them out."
            )

    @property
    @override
    def columns(self) -> Columns:
        return Columns(self.target_column, self.task_column, self.time_column, self.period, self.slices)


@dataclass
class HuggingFace(Images, Table):
    """A data set of Hugging Face: `hf:FOLDER`, `hf:NAME`, or an object."""

    kinds: ClassVar[tuple[str, ...] | None] = (HUGGING_FACE,)


class _Datasets(Kind):
    """All data sets. The form of a text decides which options exist; only loading finds out whether the data exist."""

    @override
    def names(self) -> list[str]:
        return [*self.choices(), "drift_regression:KIND", "continuum:NAME", "file.py:function"]

    @override
    def choices(self) -> dict[str, type[Part]]:
        return {
            "digits": DataSource,
            "FOLDER": Images,
            "FILE.npz": Arrays,
            "FILE.csv": Table,
            "hf:NAME": HuggingFace,
        }

    @override
    def own_name(self, text: str) -> str:
        return text  # a folder may be called so; the command line looks for it first

    @override
    def find(self, text: str) -> type[Part]:
        if not text.strip():
            raise InvalidOptionError("--dataset is empty; name a data set, a file or a folder.")
        parts = [part.strip() for part in text.lower().split(",")]
        if text.startswith("hf:"):
            return HuggingFace
        if any(part.endswith(TABLE_FILES) for part in parts):
            return Table
        if any(part.endswith(ARRAY_FILES) for part in parts):
            return Arrays
        return DataSource if text in DATASETS and text not in OF_IMAGE_FILES else Images

    @override
    def make(self, value: object, usual: Part | None = None) -> Part:
        # A DatasetDict of Hugging Face is a mapping, too.
        if isinstance(value, str | Part) or (type(value) is dict and is_described_part(value)):
            return super().make(value, usual)
        source = checked_source(value)
        if isinstance(source, str):
            return super().make(source, usual)
        kind = source.kind if isinstance(source, InMemory) else ""
        made: dict[str, type[DataSource]] = {TABLE: Table, HUGGING_FACE: HuggingFace, TORCH: Images}
        return made.get(kind, DataSource)(source)

    @override
    def told(self, text: str) -> Mapping[str, object]:
        return {"source": text}


DATA = _Datasets("dataset", DataSource, "redwood.datasets")
