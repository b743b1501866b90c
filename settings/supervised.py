"""The supervised branch of the tree: settings whose data is a stream of labelled mini-batches."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self, cast

from gymnasium.spaces import Box, Discrete, MultiBinary
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError, NotApplicableError
from redwood.core.parts import Choice
from redwood.settings.base import Setting
from redwood.settings.data.columns import Columns
from redwood.settings.data.combine import check_classes_in_common, combine
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.image_folder import with_images_like
from redwood.settings.data.parts import DATA
from redwood.settings.eval_tasks import EVAL_TASKS_WITH_CURVES
from redwood.settings.streams.extended import Earlier
from redwood.settings.streams.phase import Phase
from redwood.settings.streams.sharded_stream import ShardedStream
from redwood.settings.streams.supervised_stream import SupervisedStream
from redwood.settings.streams.task_lists import OfSeveralDataSets
from redwood.settings.streams.tasks import STREAMS
from redwood.settings.streams.transitions import TRANSITIONS, Blurry
from redwood.settings.table import name_of_setting


@dataclass
class SupervisedSetting(Setting, labels=True):
    """Learn to predict classes, or numbers where the data set holds these; base of all supervised settings.

    A node whose samples are served in a way of its own has a `stream_type` of its own.
    """

    stream_type: ClassVar[type[SupervisedStream]] = SupervisedStream

    dataset: Choice = DATA.chosen("digits")  # data set by name, file or folder
    data_dir: str = "data"  # folder that data sets are read from and downloaded to
    stream: Choice = STREAMS.chosen("auto")  # how the data is cut into tasks
    # number of tasks (default: 5; --stream tasks and streams s_*: all tasks from --first_task on)
    nb_tasks: int | None = None
    transition: Choice = TRANSITIONS.chosen("gradual")  # how one task follows another
    batch_size: int = 32  # samples per mini-batch of one worker
    passes: int = cast("int", None)  # times each sample is presented (default: 20; online settings: 1)
    validation: float = 0.0  # share of each task's training samples that are held out for validation
    eval_tasks: Choice = EVAL_TASKS_WITH_CURVES.chosen("all")  # tasks that are tested after each phase

    @override
    def __post_init__(self) -> None:
        # The data that an earlier run hands on, see `after`. It is no option, and methods do not see it.
        self._earlier: Earlier | None = None
        super().__post_init__()
        self.passes = self.resolve("passes", self.passes, default=20)
        check_range(self, "passes", 1, 1_000_000)
        check_range(self, "batch_size", 1)
        check_range(self, "validation", 0, 0.9)
        if self.nb_tasks is not None:
            check_range(self, "nb_tasks", 1)
        if isinstance(self.stream, OfSeveralDataSets):
            self.stream.check_dataset(self.dataset.source, type(self).dataset)
        self._check_columns()

    @property
    def phases_accumulate(self) -> bool:
        """True if a phase holds the samples of the phases before, too."""
        return self.assumptions.past_accessible

    @property
    def delay(self) -> int:
        """Mini-batches between the samples of a mini-batch and its labels."""
        return 0

    def _check_columns(self) -> None:
        """Raise `InvalidOptionError` if column options contradict the stream."""
        columns: Columns = self.dataset.columns
        stream = STREAMS.text_of(self.stream)
        making = ("--task_column", columns.task) if columns.task else ("--period", columns.period)
        if making[1] and not self.stream.takes_tasks:
            raise InvalidOptionError(
                f"{making[0]} {making[1]} makes the tasks, and so does --stream {stream}; leave one of them out."
            )
        if columns.slices and self.stream.joins:
            raise InvalidOptionError(
                f"--slices {columns.slices} names a column of one file, but --stream {stream} joins several data sets; "
                "leave it out."
            )

    @property
    @override
    def dataset_name(self) -> str:
        if isinstance(self.dataset, str):  # of the view of a method
            return self.dataset
        name: str = self.dataset.name
        return self.stream.called(name) if isinstance(self.stream, OfSeveralDataSets) else name

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
        if isinstance(self.stream, OfSeveralDataSets):
            data, names = self._joined(self.stream)
            return self.stream_type(self, data, names)
        data, earlier = self._load(), self._earlier
        if earlier is not None and not self.dataset.side:
            data = with_images_like(data, earlier.observation_space.shape)
        return self.stream_type(self, data, earlier=earlier)

    def _load(self) -> Dataset:
        """The data of the option `dataset`."""
        features = () if self._earlier is None else self._earlier.feature_names
        data: Dataset = self.dataset.load(self.data_dir, self.seed, features)
        return data

    def _joined(self, stream: OfSeveralDataSets) -> tuple[Dataset, list[dict[str, object]]]:
        """The data of all tasks of several data sets; and name, year and group of each."""
        load = self.dataset.loader(self.data_dir, self.seed, side=stream.usual_image_size(self.seed))
        views = stream.views(self.dataset.name, load, self.seed, self.nb_tasks)
        data = combine(self.dataset_name, views, load, self.seed)
        notes = dict.fromkeys(load(view.dataset).note for view in views)
        if self.assumptions.shared_outputs:
            check_classes_in_common(self.dataset_name, views, data)
        return replace(data, note="\n".join(filter(None, notes))), [view.describe() for view in views]

    def after(self, earlier: Earlier) -> Self:
        """The same setting, whose tasks come behind those of an earlier run.

        Raises:
            NotApplicableError: If a run under this setting cannot be extended.
            InvalidOptionError: If an option contradicts that.
        """
        if self.stream_type not in (SupervisedStream, ShardedStream):
            raise not_to_be_extended(self)
        whole = {
            f"--stream {STREAMS.text_of(self.stream)}": isinstance(self.stream, OfSeveralDataSets),
            "--transition blurry": isinstance(self.transition, Blurry),
            "--lca": self.eval_tasks.curve_length > 0,
        }
        given = next((option for option, is_given in reversed(whole.items()) if is_given), None)
        if given is not None:
            raise InvalidOptionError(
                f"{given} goes over a whole stream, so that no run with it can be extended; leave it out."
            )
        if self.assumptions.past_accessible and earlier.known is None:
            raise NotApplicableError(
                f"Under {name_of_setting(type(self))} each phase holds the data of earlier tasks, which is gone; put "
                "it back, or start from a run under class_incremental."
            )
        extended = copy.copy(self)
        for name in ("_stream", "observation_space", "action_space"):
            vars(extended).pop(name, None)
        extended._earlier = earlier
        return extended

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
        """Return the field of the number of tasks where boundaries are not announced; else no field."""
        return frozenset() if self.assumptions.boundaries else frozenset({"nb_tasks"})


def not_to_be_extended(setting: SupervisedSetting) -> NotApplicableError:
    """Return the error for extending a run by further tasks under a setting that decides which samples come."""
    return NotApplicableError(
        f"A run under {name_of_setting(type(setting))} cannot be extended, as its stream is its own; "
        "extend a run under class_incremental or a setting like it."
    )
