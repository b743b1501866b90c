"""The supervised branch of the tree: settings whose data is a stream of labelled mini-batches."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from gymnasium.spaces import Box, Discrete, MultiBinary
from typing_extensions import override

from redwood.core.checks import check_choice, check_range
from redwood.core.errors import InvalidOptionError, NotApplicableError, PinnedOptionError
from redwood.settings.assumptions import Context, TaskIds
from redwood.settings.base import Setting
from redwood.settings.data.catalog import load_dataset, load_in_memory
from redwood.settings.data.columns import NO_COLUMNS, PERIODS, Columns
from redwood.settings.data.combine import check_classes_in_common, combine
from redwood.settings.data.conversion import InMemory, checked_source
from redwood.settings.data.ctrl import CTRL_STREAMS, ctrl_stream, find_pool
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.image_folder import with_images_like
from redwood.settings.data.imbalance import check_imbalance
from redwood.settings.data.task_list import read_task_list, views_of_names
from redwood.settings.data.views import View
from redwood.settings.earlier import Earlier
from redwood.settings.phase import Phase
from redwood.settings.sharded_stream import ShardedStream
from redwood.settings.supervised_stream import SupervisedStream
from redwood.settings.table import name_of_setting

STREAMS = ("auto", "class_split", "permuted", "rotated", "instance", "ordered", "contexts", "tasks", *CTRL_STREAMS)
TRANSITIONS = ("abrupt", "blurry", "gradual")


@dataclass
class SupervisedSetting(Setting, labels=True):
    """Learn to predict classes, or numbers where the data set holds these; base of all supervised settings.

    A node whose samples are served in a way of its own has a `stream_type` of its own.
    """

    stream_type: ClassVar[type[SupervisedStream]] = SupervisedStream

    # name, .npz, .h5, .csv or .parquet file, hf:FOLDER, drift_regression:KIND, continuum:NAME, or file.py:function
    dataset: Any = "digits"
    target_column: str = ""  # tables: column of classes (integers, texts) or numbers (default: target, label or y)
    task_column: str = ""  # tables: column that holds the task of each row
    time_column: str = ""  # tables: column of dates or numbers, in whose order the rows come
    period: str = ""  # tables: a task for each year, quarter, month, week, day or hour of --time_column
    data_dir: str = "data"  # folder that data sets are read from and downloaded to
    image_size: int = 0  # side to which image files are resized, in pixels (0: the data set's own)
    stream: str = "auto"  # tasks: class_split, permuted, rotated, instance, ordered, contexts (the data's), tasks, s_*
    concepts: str = "digits"  # s_*: what the tasks are made of: digits, ctrl (CIFAR-10, MNIST, ...), or a YAML file
    stream_file: str = ""  # tasks: YAML list of data sets and parts of them (default: those of --dataset a,b,c)
    first_task: int = 0  # tasks, s_*: begin with this one; earlier tasks were learned in an earlier run
    nb_tasks: int | None = None  # number of tasks (default: 5; tasks, s_*: all from --first_task on)
    increment: list[int] = field(default_factory=list)  # classes per task: one number, or one per task
    class_order: list[int] = field(default_factory=list)  # order in which classes come (default: drawn from the seed)
    class_order_seed: int | None = None  # seed that the order of the classes is drawn from (default: --seed)
    angles: list[float] = field(default_factory=list)  # rotated: degrees of each task (default: drawn from the seed)
    transition: str = cast("str", None)  # how one task follows another: abrupt, blurry, or gradual (continual only)
    blur: float = 0.1  # blurry: share of a task's samples that turn up in other tasks
    drift_width: float = 1.0  # gradual: length of the overlap of two tasks, in tasks
    background: Any = ""  # data set without classes of interest, for methods that learn a negative class
    batch_size: int = 32  # samples per mini-batch of one worker
    passes: int = cast("int", None)  # times each sample is presented (default: 20; online settings: 1)
    label_delay: int = 0  # online: the labels of a mini-batch come so many mini-batches after its samples
    imbalance: str = ""  # training samples of each class: long_tail, long_tail:RATIO or dirichlet:ALPHA (default: all)
    validation: float = 0.0  # share of each task's training samples held out for validation
    slices: str = ""  # column of the data file that groups samples, for scores by slice (default: the classes)
    lca: int = 0  # test each task after 0, 1, ... so many of its mini-batches, for the area under its learning curve

    @override
    def __post_init__(self) -> None:
        # What an earlier run hands on, see `after`; no option, and not for methods.
        self._earlier: Earlier | None = None
        super().__post_init__()
        self.dataset, self.background = checked_source(self.dataset), checked_source(self.background)
        self.passes = self.resolve("passes", self.passes, default=20)
        check_range(self, "passes", 1, 1_000_000)
        check_choice(self, "stream", STREAMS)
        self._check_task_stream()
        self._check_transition()
        check_range(self, "batch_size", 1)
        check_range(self, "image_size", 0, 65_536)
        check_range(self, "blur", 0, 1)
        check_range(self, "drift_width", 0)
        check_range(self, "validation", 0, 0.9)
        check_range(self, "lca", 0)
        if self.lca and self.eval_tasks == "none":
            raise InvalidOptionError(f"--lca {self.lca} tests in each phase, but --eval_tasks is none; leave one out.")
        check_imbalance(self.imbalance)
        check_range(self, "label_delay", 0)
        if self.label_delay and self.passes > 1:
            raise InvalidOptionError(
                f"--label_delay {self.label_delay} needs samples that are presented once, but --passes is "
                f"{self.passes}; add --passes 1, or use an online setting."
            )
        if self.label_delay and self.assumptions.phases_accumulate:
            raise PinnedOptionError(
                f"--label_delay {self.label_delay} needs samples that are presented once, but each phase of "
                f"{type(self).__name__} holds those of the phases before, too; leave it out."
            )
        if self.nb_tasks is not None:
            check_range(self, "nb_tasks", 1)
        self._check_class_order_seed()
        self._check_slices()
        self._check_columns()

    @property
    def _columns(self) -> Columns:
        features = () if self._earlier is None else self._earlier.feature_names
        return Columns(self.target_column, self.task_column, self.time_column, self.period, self.slices, features)

    def _check_columns(self) -> None:
        if self.period:
            check_choice(self, "period", tuple(PERIODS))
        if self.period and not self.time_column:
            raise InvalidOptionError(
                f"--period {self.period} has no effect without --time_column; name the column that holds the dates."
            )
        if self.period and self.task_column:
            raise InvalidOptionError(
                f"--period {self.period} and --task_column {self.task_column} both make tasks; leave one of them out."
            )
        making = ("--task_column", self.task_column) if self.task_column else ("--period", self.period)
        if making[1] and self.stream not in ("auto", "contexts"):
            raise InvalidOptionError(
                f"{making[0]} {making[1]} makes the tasks, and so does --stream {self.stream}; leave one of them out."
            )
        if isinstance(self.dataset, Dataset) or self.stream_file or self._is_ctrl:
            self._columns.refuse(self.dataset_name)

    def _check_class_order_seed(self) -> None:
        if self.class_order_seed is None:
            return
        check_range(self, "class_order_seed", 0)
        if self.class_order:
            raise InvalidOptionError(
                f"--class_order_seed {self.class_order_seed} has no effect beside --class_order, which names the "
                "order; leave one of them out."
            )

    def _check_slices(self) -> None:
        if self.slices and isinstance(self.dataset, Dataset):
            raise InvalidOptionError(
                f"--slices {self.slices} names a column of a file, but {self.dataset.name} is a data set in memory; "
                "give it slices by Dataset.from_arrays(slices=..., slices_test=...)."
            )
        if self.slices and (self.stream == "tasks" or self._is_ctrl):
            raise InvalidOptionError(
                f"--slices {self.slices} has no effect on --stream {self.stream}, which joins several data sets; "
                "leave it out."
            )

    def _check_task_stream(self) -> None:
        check_range(self, "first_task", 0)
        given_data, of_tasks, of_ctrl = self.dataset != type(self).dataset, self.stream == "tasks", self._is_ctrl
        needed = {
            "stream_file": (of_tasks, "--stream tasks"),
            "concepts": (of_ctrl, "one of --stream s_minus ... s_long"),
            "first_task": (of_tasks or of_ctrl, "--stream tasks"),
        }
        for name, (has_effect, remedy) in needed.items():
            if getattr(self, name) != getattr(type(self), name) and not has_effect:
                raise InvalidOptionError(
                    f"--{name} {getattr(self, name)} has no effect on --stream {self.stream}; add {remedy}."
                )
        if self.imbalance and (of_tasks or of_ctrl):
            raise InvalidOptionError(
                f"--imbalance {self.imbalance} has no effect on --stream {self.stream}, whose tasks name their numbers "
                "of samples; leave it out."
            )
        if of_ctrl and given_data:
            raise InvalidOptionError(
                f"--dataset has no effect on --stream {self.stream}, which is made of --concepts {self.concepts}; "
                "leave it out."
            )
        if of_ctrl and self.assumptions.task_ids < TaskIds.TEST:
            raise PinnedOptionError(
                f"--stream {self.stream} needs task ids at test, which {type(self).__name__} does not give; use "
                "--setting task_incremental."
            )
        if self.stream_file and given_data:
            given = self.dataset if isinstance(self.dataset, str) else self.dataset.name
            raise InvalidOptionError(
                f"--dataset {given} has no effect beside --stream_file {self.stream_file}, which names the data sets; "
                "leave one of them out."
            )
        if of_tasks and not isinstance(self.dataset, str):
            raise InvalidOptionError(
                f"--stream tasks needs the names of data sets, but {self.dataset.name} is one in memory; use "
                "--stream contexts for the tasks of its own."
            )

    def _check_transition(self) -> None:
        context = self.assumptions.context
        if self.transition is None:
            self.transition = "gradual" if context == Context.CONTINUOUS else "abrupt"
        check_choice(self, "transition", TRANSITIONS)
        if self.transition == "gradual" and context > Context.CONTINUOUS:
            raise PinnedOptionError(
                f"--transition gradual contradicts {type(self).__name__}, whose contexts are discrete; "
                "use --setting continual."
            )
        pooled = context == Context.STATIONARY or self.assumptions.past_accessible
        if self.transition == "blurry" and pooled:
            raise PinnedOptionError(
                f"--transition blurry has no effect under {type(self).__name__}, which pools the tasks; leave it out."
            )

    @property
    @override
    def dataset_name(self) -> str:
        if self.stream_file:
            return Path(self.stream_file).stem
        if self._is_ctrl:
            return f"{self.stream}:{Path(self.concepts).stem}"
        return self.dataset if isinstance(self.dataset, str) else self.dataset.name

    @cached_property
    def observation_space(self) -> Box:
        """Shape and range of one sample in its storage dtype. Floats: the range in training."""
        return self._stream.observation_space

    @cached_property
    def action_space(self) -> Discrete | MultiBinary | Box:
        """The classes or labels that can be predicted, or the range of the numbers to predict, () or (d,)."""
        return self._stream.action_space

    @override
    def open_stream(self) -> SupervisedStream:
        return self._stream

    @cached_property
    def _stream(self) -> SupervisedStream:
        self.check_not_a_view("The stream")
        stream = self._cut_stream()
        if self.background:
            stream.add_background(self._dataset_of(self.background))
        return stream

    def _cut_stream(self) -> SupervisedStream:
        if self.stream == "tasks":
            views = read_task_list(Path(self.stream_file)) if self.stream_file else views_of_names(self.dataset)
            return self._stream_of(views, self._loader(self.image_size, self._columns))
        if self._is_ctrl:
            pool = find_pool(self.concepts, self.seed)
            load = self._loader(self.image_size or pool.image_size)
            last = self.first_task + (self.nb_tasks or 0)
            return self._stream_of(ctrl_stream(self.stream, pool, load, self.seed, last), load)
        data = self._dataset_of(self.dataset, self.image_size, self._columns)
        if self._earlier is None:
            return self.stream_type(self, data)
        if not self.image_size:
            data = with_images_like(data, self._earlier.observation_space.shape)
        return self.stream_type(self, data, earlier=self._earlier)

    def _stream_of(self, views: Sequence[View], load: Callable[[str], Dataset]) -> SupervisedStream:
        data = combine(self.dataset_name, views, load, self.seed)
        notes = dict.fromkeys(load(view.dataset).note for view in views)
        data = replace(data, note="\n".join(filter(None, notes)))
        if self.assumptions.shared_outputs:
            check_classes_in_common(self.dataset_name, views, data)
        return self.stream_type(self, data, [view.describe() for view in views])

    def _dataset_of(
        self, source: str | Dataset | InMemory, image_size: int = 0, columns: Columns = NO_COLUMNS
    ) -> Dataset:
        if isinstance(source, InMemory):
            return load_in_memory(source, self.seed, image_size, columns)
        return source if isinstance(source, Dataset) else self._loader(image_size, columns)(source)

    def _loader(self, image_size: int, columns: Columns = NO_COLUMNS) -> Callable[[str], Dataset]:
        """Loads data sets by name, each of them once."""
        return cache(lambda name: load_dataset(name, Path(self.data_dir), self.seed, image_size, columns))

    def after(self, earlier: Earlier) -> Self:
        """The same setting, whose tasks come behind those of an earlier run.

        Raises:
            NotApplicableError: If a run under this setting cannot be extended.
            InvalidOptionError: If an option contradicts that.
        """
        name = name_of_setting(type(self))
        if self.stream_type not in (SupervisedStream, ShardedStream) or self.assumptions.recurring:
            raise NotApplicableError(
                f"A run under {name} cannot be extended, as it decides itself which samples come; extend a run under "
                "class_incremental or a setting like it."
            )
        if self.stream == "tasks" or self._is_ctrl or self.transition == "blurry" or self.lca:
            given = "--transition blurry" if self.transition == "blurry" else f"--stream {self.stream}"
            raise InvalidOptionError(
                f"{'--lca' if self.lca else given} goes over a whole stream, so that no run with it can be extended; "
                "leave it out."
            )
        if self.assumptions.past_accessible and earlier.known is None:
            raise NotApplicableError(
                f"Under {name} each phase holds the data of earlier tasks, which is gone; put it back, or start from a "
                "run under class_incremental."
            )
        extended = copy.copy(self)
        for name in ("_stream", "observation_space", "action_space"):
            vars(extended).pop(name, None)
        extended._earlier = earlier
        return extended

    @property
    def _is_ctrl(self) -> bool:
        return self.stream in CTRL_STREAMS

    @override
    def phases(self) -> Iterator[Phase]:
        self.check_not_a_view("phases")
        return map(self._stream.phase, range(self._stream.num_phases))

    @override
    def for_method(self) -> Self:
        """A view with the spaces, names of the features if they have some, and options; without data and hidden fields.

        Where boundaries are announced, `nb_tasks` is the number of tasks that the data was cut into, also if the run
        takes only some of them.
        """
        spaces = {name: copy.deepcopy(getattr(self, name)) for name in ("observation_space", "action_space")}
        view = super().for_method()
        vars(view).update(spaces, dataset=self.dataset_name, _earlier=None)
        if self._stream.feature_names:
            vars(view)["feature_names"] = self._stream.feature_names
        del vars(view)["_stream"]
        if self.assumptions.boundaries:
            vars(view)["nb_tasks"] = self._stream.total_tasks
        return view

    @override
    def hidden_fields(self) -> frozenset[str]:
        """What tells the tasks and classes to come. Where boundaries are not announced, also the number of tasks."""
        hidden = frozenset({"class_order", "class_order_seed", "angles", "stream_file", "concepts", "imbalance"})
        return hidden if self.assumptions.boundaries else hidden | {"nb_tasks", "increment", "first_task"}
