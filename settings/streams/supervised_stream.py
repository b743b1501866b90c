"""The stream of a supervised setting: its assumptions decide the phases, the content of batches, and the scores."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, cast

import torch
from gymnasium.spaces import Box, Discrete, MultiBinary
from torch import Tensor
from typing_extensions import override

from redwood.core.errors import DataError, InvalidOptionError, NotApplicableError, NotTrainedError
from redwood.core.overrides import warn_of_misnamed
from redwood.core.seeding import derive_seed
from redwood.core.state import State
from redwood.core.workers import rank, world_size
from redwood.settings.assumptions import Context, TaskIds
from redwood.settings.data.arrays import Samples
from redwood.settings.data.classes import Classes
from redwood.settings.data.dataset import Dataset, describe_data
from redwood.settings.data.entries import Entries
from redwood.settings.protocols import FixedStream, Learner
from redwood.settings.scores.asked import AskedScore
from redwood.settings.scores.evaluation import TaskEvaluation
from redwood.settings.scores.label_evaluation import LabelEvaluation
from redwood.settings.scores.label_sets import label_groups
from redwood.settings.scores.learning_curve import LearningCurve, check_lca
from redwood.settings.scores.multi_label_results import MultiLabelResults
from redwood.settings.scores.results import RegressionResults, Results
from redwood.settings.scores.results_class import check_results_class
from redwood.settings.scores.slices import slicing_of
from redwood.settings.scores.task_scores import Scores
from redwood.settings.streams.batches import BatchSequence, Source
from redwood.settings.streams.extended import Earlier, EarlierData, in_form_of_the_run
from redwood.settings.streams.held_out import HeldOut
from redwood.settings.streams.kinds import check_learner, check_suits
from redwood.settings.streams.loader import BatchLoader, HeldOutLoader
from redwood.settings.streams.order import batch_cuts, shuffled, task_entries
from redwood.settings.streams.phase import Phase
from redwood.settings.streams.phases import PhaseOptions, split_into_phases
from redwood.settings.streams.read_ahead import Decoding, decoding_workers
from redwood.settings.streams.run_tasks import RunTasks, cut_run, warn_of_tasks
from redwood.settings.streams.spaces import action_space_of, observation_space_of
from redwood.settings.streams.tasks import STREAMS, Cut, StreamPart
from redwood.settings.table import name_of_setting

if TYPE_CHECKING:
    from redwood.settings.supervised import SupervisedSetting


RESULTS: dict[str, type[Results]] = {"regression": RegressionResults, "multi_label": MultiLabelResults}


class SupervisedStream(FixedStream):
    """The tasks of one supervised run, as phases to train on and test sets to be scored on.

    Tasks keep their numbers in the whole stream, of which a run may take a part: `num_tasks` from `first_task` on.

    A setting with a stream of its own names it as `stream_type`. Such a subclass overrides up to three methods, by
    `super()`. `training_source` decides which labels or samples are shown, `split_into_phases` which samples come when,
    and `batches` how a phase is served. `check_data` refuses data that do not suit it. `result_fields` fills the fields
    of its own results, `results_of_classes`. What changes while a run is trained belongs into `phase_over` and
    `restore`. A run of such a stream cannot be extended.

    Attributes:
        setting: The options.
        tasks: All tasks of the stream.
    """

    results_of_classes: ClassVar[type[Results]] = Results

    def __init_subclass__(cls) -> None:
        """Warn of attributes whose names nearly match that of a hook."""
        super().__init_subclass__()
        warn_of_misnamed(cls, 2)

    def __init__(
        self,
        setting: "SupervisedSetting",
        data: Dataset,
        names: Sequence[dict[str, object]] = (),
        *,
        earlier: Earlier | None = None,
    ) -> None:
        """Cut `data` into tasks, and these into phases, by the assumptions and options of `setting`.

        Args:
            setting: The options.
            data: The samples of all tasks.
            names: Of tasks from several data sets: name, year and group of each.
            earlier: The run whose tasks come before those of `data`; None: there is none.

        Raises:
            InvalidOptionError: If an option does not fit the data.
            NotApplicableError: If tasks are to bring classes of their own, but the data has no classes.
            DataError: If a task would be empty.
        """
        self.setting, self._promised, self._names, self._earlier = setting, setting.assumptions, names, earlier
        self.note = data.note
        self.check_data(data)
        self.results_type: type[Results] = self.results_of(data.kind)
        check_results_class(self.results_type)
        if not issubclass(self.results_type, self.results_of_classes):
            raise NotApplicableError(
                f"{name_of_setting(type(setting))} has results of its own for classes, and {data.name} has none; use "
                "other data, or override results_of in the stream."
            )
        stream = setting.stream.for_data(data)
        self._in_order = self._keeps_order(stream, data)
        self._tasks = self._cut_into_tasks(stream, data)
        warn_of_tasks(self._tasks, told=self._promised.task_ids >= TaskIds.TEST)
        self._data, self.n_outputs = self._tasks.data, self._tasks.n_outputs
        part = self._tasks.part
        self.tasks = self._tasks.tasks
        self.first_task, self.num_tasks, self.total_tasks = part.start, len(part), len(self.tasks)
        self._decoding = Decoding()
        self._source = self.training_source(self._data.x, self._data.y)
        self._test_source = Source(self._data.x_test, self._data.y_test, self.tasks, decoding=self._decoding)
        self._check_source()
        self._phases, self._held_out = self.split_into_phases()
        self._refuse_small_phases()
        self.num_phases = len(self._phases)
        self._classes = self._classes_of_tasks()
        self._slicing = slicing_of(self._data, setting.dataset.columns.slices) if data.kind == "classes" else None
        self._test = self._shuffled_tests()
        self._curves: dict[int, LearningCurve] = {}
        self._check_curves()

    def results_of(self, kind: str) -> type[Results]:
        """The class of the results for data of a kind: `classes`, `regression` or `multi_label`."""
        return RESULTS.get(kind, self.results_of_classes)

    def check_data(self, data: Dataset) -> None:
        """Raise an error if the setting cannot be made of this data."""
        name = name_of_setting(type(self.setting))
        check_suits(name, data, self.setting.validation, adds_classes=self._adds_classes())

    def _keeps_order(self, stream: StreamPart, data: Dataset) -> bool:
        """True if the samples of `data` come in their order."""
        if not stream.follows_time(data):
            return False
        self.setting.transition.check_order(STREAMS.name_of(type(stream)))
        return self._can_keep_order()

    # First step: tasks.

    def _cut_into_tasks(self, stream: StreamPart, data: Dataset) -> RunTasks:
        """Cut the data into tasks."""
        setting, earlier = self.setting, self._earlier
        data = data if setting.eval_tasks.tests else data.without_tests()
        num_tasks = setting.nb_tasks
        if earlier is not None:
            data = in_form_of_the_run(earlier, data)
            # Further data is one task unless told otherwise, or it has tasks of its own.
            num_tasks = 1 if num_tasks is None and not stream.sets_number else num_tasks
        first = 0 if earlier is None else earlier.num_tasks
        cut = Cut(num_tasks, shared_outputs=self._promised.shared_outputs, seed=setting.seed, first=first)
        return cut_run(data, stream, cut, earlier)

    def training_source(self, x: Samples, y: Tensor) -> Source:
        """Return the samples and labels that training shows: the same N samples in the same order, maybe changed.

        Args:
            x: Samples of the data set (N, ...).
            y: Labels (N,), label sets (N, L), or targets (N,) or (N, d).
        """
        return Source(x, y, self.tasks, decoding=self._decoding)

    # Second step: phases, and their held-out samples.

    def split_into_phases(self) -> tuple[list[Entries], list[HeldOut]]:
        """The training samples and the held-out samples of each phase.

        A subclass may leave some out: `[entries[keep] for entries in phases]`, where `keep` holds places (k,).
        """
        first = self._tasks.first_trained
        options = PhaseOptions(
            self._promised,
            self.setting.transition,
            self.setting.validation,
            self.setting.seed,
            in_order=self._in_order,
            part=slice(first, self._tasks.part.stop),
            mask=self._data.validation,
            n_rows=len(self._data.y),
        )
        phases, held_out = split_into_phases(task_entries([task.rows for task in self.tasks]), options)
        # Phases of earlier tasks are over.
        over = task_entries([torch.empty(0, dtype=torch.long)]) * (first - self.first_task)
        return over + phases, [HeldOut(entries) for entries in over] + held_out

    def _check_source(self) -> None:
        """Raise `DataError` if the stream shows another number of samples than the data has."""
        n_shown, n_labels = len(self._source.x), len(self._source.y)
        if not n_shown == n_labels == len(self._data.y):
            raise DataError(
                f"{type(self).__name__}.training_source shows {n_shown} samples with {n_labels} labels of the "
                f"{len(self._data.y)} of {self._data.name}; leave samples out in split_into_phases."
            )

    def _refuse_small_phases(self) -> None:
        """Raise an error if a phase that is trained has no samples, or fewer than there are workers."""
        smallest = min(map(len, self._phases[self._tasks.first_trained - self.first_task :]))
        if not smallest:
            raise DataError(f"A phase of {self._data.name} has no training sample; leave it one at least.")
        if smallest < self.setting.workers:
            raise InvalidOptionError(
                f"--workers {self.setting.workers} is more than the {smallest} samples of the smallest phase; use "
                "fewer."
            )

    # Third step: tests.

    def _shuffled_tests(self) -> Entries:
        """The test samples of the run, shuffled: the neighbours of a sample in its batch would tell its task."""
        test = Entries.concatenate(task_entries([task.rows_test for task in self.tasks]))
        return self._own(shuffled(test, derive_seed(self.setting.seed, "test order") % 2**48), self.num_tasks)

    def _check_curves(self) -> None:
        """Raise `InvalidOptionError` if `--lca` asks for learning curves that there cannot be."""
        setting = self.setting
        if setting.eval_tasks.curve_length:
            batches = self._batches_per_phase() if self._one_task_each else None
            check_lca(setting.eval_tasks.curve_length, name_of_setting(type(setting)), self._data, batches)

    @override
    def decoding(self, workers: int | None, *, share: int, pin_memory: bool) -> AbstractContextManager[None]:
        """Worker processes decode batches and test samples that lie in files."""
        count = decoding_workers(self._data.name, (self._data.x, self._data.x_test), workers, share)
        return self._decoding.in_workers(count, pin_memory)

    def _own(self, entries: Entries, num_tasks: int) -> Entries:
        """The entries that belong to the first `num_tasks` tasks of the run."""
        if (self.first_task, num_tasks) == (0, self.total_tasks):
            return entries
        inside = (entries.tasks >= self.first_task) & (entries.tasks < self.first_task + num_tasks)
        return entries[inside.nonzero().flatten()]

    # Decisions of the assumptions and the options.

    @property
    def _is_pooled(self) -> bool:
        """True if a phase holds the data of several tasks, shuffled."""
        return self._promised.context == Context.STATIONARY or self._promised.past_accessible

    @property
    def _shows_ids(self) -> bool:
        """True if task ids are shown in training."""
        return self._promised.task_ids >= TaskIds.TRAINING

    @property
    def _asks(self) -> bool:
        """True if predictions are asked for before labels are served."""
        return self._promised.predict_first or self.setting.delay > 0

    def _adds_classes(self) -> bool:
        """True if the tasks differ in their classes only, without help of ids at test or of old data."""
        told = self._promised.shared_outputs or self._promised.task_ids >= TaskIds.TEST
        return self._promised.boundaries and not self._is_pooled and not told

    @property
    def _one_task_each(self) -> bool:
        """True if each phase trains one task."""
        return self._promised.boundaries and self.num_phases == self.num_tasks and not self._promised.past_accessible

    def _can_keep_order(self) -> bool:
        """True if samples can come in their order. A task that is presented several times is shuffled."""
        return not self._is_pooled and (not self._promised.boundaries or self.setting.passes == 1)

    @property
    def observation_space(self) -> Box:
        """Shape, dtype and range of one sample."""
        if self._earlier is not None:
            return self._earlier.observation_space
        return observation_space_of(self._data)

    @cached_property
    def action_space(self) -> Discrete | MultiBinary | Box:
        """The classes or labels; for regression the range of the targets in training."""
        return action_space_of(self._data, self.n_outputs)

    def phase(self, index: int, learner: Learner | None = None) -> Phase:
        """Build one phase for this worker.

        Args:
            index: Number of the phase.
            learner: The method. It is asked for predictions in this phase if the setting asks for them. Its learning
                curve is measured if `--lca` asks for it.
        """
        entries, sequence = self._phases[index], self.batches(index, learner)
        length = self.setting.eval_tasks.curve_length
        if length and learner is not None:
            task = self.first_task + index
            self._curves[index] = LearningCurve(lambda: self._accuracy_on(task, learner), length)
            sequence.watch(self._curves[index])
        shows_task = self._shows_ids and (self._one_task_each or self._promised.past_accessible)
        phase = Phase(
            index,
            task_id=self.first_task + index if shows_task else None,
            task_classes=self._task_classes(entries),
            train=BatchLoader(sequence),
            validation=self._validation_loader(index, sequence),
            action_space=self.action_space,
        )
        if learner is not None and self._asks:
            phase.asks = True
            shown, delay = self._promised.task_ids >= TaskIds.TEST, self.setting.delay
            seed = derive_seed(self.setting.seed, "asked", self.first_task + index)
            asked = AskedScore(
                learner, sequence, phase.online, self.action_space, seed=seed, delay=delay, show_ids=shown
            )
            sequence.watch(asked)
        return phase

    def batches(self, index: int, learner: Learner | None) -> BatchSequence:
        """The mini-batches of this worker in one phase; `learner` is the method that trains in it, if it is known."""
        shuffle = self._promised.boundaries and not self._in_order
        seed = derive_seed(self.setting.seed, "shuffling", self.first_task + index) % 2**48
        owners = self._owners(index)
        return self._sequence(
            self._phases[index], passes=self.setting.passes, shuffle=shuffle, seed=seed, owners=owners
        )

    def _owners(self, index: int) -> Tensor | None:
        """The worker that each sample of a phase belongs to (n,); None: the samples belong to nobody."""
        return None

    def _sequence(
        self,
        entries: Entries,
        *,
        passes: int = 1,
        shuffle: bool = False,
        seed: int = 0,
        owners: Tensor | None = None,
    ) -> BatchSequence:
        """The mini-batches of this worker."""
        return BatchSequence(
            self._source,
            entries,
            self.setting.batch_size,
            passes=passes,
            shuffle=shuffle,
            seed=seed,
            show_ids=self._shows_ids,
            rank=rank(),
            workers=world_size(),
            owners=owners,
        )

    def _validation_loader(self, index: int, training: BatchSequence) -> HeldOutLoader | None:
        held_out = self._held_out[index]
        if len(held_out.entries) < world_size():
            return None

        def shown() -> BatchSequence | None:
            entries = held_out.shown(training)
            return None if len(entries) < world_size() else self._sequence(entries)

        cuts = batch_cuts(len(held_out.entries), self.setting.batch_size, world_size())
        return HeldOutLoader(shown, (len(cuts) - 1) // world_size())

    def _task_classes(self, entries: Entries) -> dict[int, tuple[int, ...]] | None:
        if self._classes is None or not self._shows_ids:
            return None
        return {task: self._classes[task] for task in torch.unique(entries.tasks).tolist()}

    def _classes_of_tasks(self) -> list[tuple[int, ...]] | None:
        """All labels of each task, ascending. A phase may show only some of them."""
        if self._data.is_regression:
            return None
        entries = task_entries([task.rows for task in self._source.tasks])
        if self._data.is_multi_label:
            return [tuple(self._source.labels(own).any(0).nonzero().flatten().tolist()) for own in entries]
        return [tuple(torch.unique(self._source.labels(own)).tolist()) for own in entries]

    def samples_of(self, task: int, test: bool = False) -> tuple[Tensor, Tensor]:
        """All training or test samples (n, ...) of a task, transformed, and their labels (n,) or targets.

        Training samples that the data set keeps for validation are left out.
        """
        source = self._test_source if test else self._source
        rows = source.tasks[task].rows_test if test else source.tasks[task].rows
        if self._data.validation is not None and not test:
            rows = rows[~self._data.validation[rows]]
        entries = Entries(rows, torch.full_like(rows, task))
        return source.samples(entries), source.labels(entries)

    def tasks_seen(self, phase: int) -> int:
        """Each phase adds one task, or one phase holds all. Single samples of later tasks (blurry) do not count."""
        return phase + 1 if self.num_phases == self.num_tasks else self.num_tasks

    # Scores of a method.

    def check(self, method: Learner) -> None:
        """Raise an error if the method cannot learn from this data; see `check_learner`."""
        check_learner(method, self._data)

    def baseline(self, method: Learner) -> list[float] | None:
        """The score of each task before any training, for forward transfer; None if it is undefined."""
        if not self.setting.eval_tasks.ahead:
            return None
        try:
            return cast("list[float]", self.evaluate(method).per_task)
        except NotTrainedError:
            return None

    def evaluate(self, method: Learner, num_tasks: int | None = None) -> Scores:
        """Score `method` on the test sets of the first `num_tasks` tasks of the run (default: all)."""
        tested = self._test if num_tasks is None else self._own(self._test, num_tasks)
        return self._evaluation.by_task(method, self._test_source, tested, self._tasks.part)

    @property
    @override
    def holds_out(self) -> bool:
        return any(len(held_out.entries) for held_out in self._held_out)

    @override
    def validate(self, method: Learner, phase: int) -> list[float | None] | None:
        if not self.holds_out:
            return None
        # If a phase holds the samples of earlier phases, its held-out samples include theirs.
        first = phase if self.setting.phases_accumulate else 0
        entries = [self._held_out[index].entries for index in range(first, phase + 1)]
        if not any(map(len, entries)):
            return [None] * (phase + 1)
        seed = derive_seed(self.setting.seed, "validation order") % 2**48
        return [None] * first + self._evaluation.by_part(method, self._source, entries, seed)

    @cached_property
    def _evaluation(self) -> TaskEvaluation | LabelEvaluation:
        """Scores answers. Groups of labels go by the training samples of all tasks."""
        show_ids = self._promised.task_ids >= TaskIds.TEST
        if not self._data.is_multi_label:
            own = self._classes if show_ids else None
            return TaskEvaluation(
                self.action_space, self.n_outputs, self.total_tasks, self._slicing, show_ids=show_ids, own_classes=own
            )
        entries = Entries.concatenate(task_entries([task.rows for task in self._source.tasks]))
        groups = label_groups(self._source.labels(entries).sum(0))
        return LabelEvaluation(self.action_space, groups, show_ids=show_ids)

    def _accuracy_on(self, task: int, method: Learner) -> float | None:
        """The test accuracy on a task; None if the method cannot predict yet."""
        tested = self._test[(self._test.tasks == task).nonzero().flatten()]
        try:
            return self._evaluation.by_part(method, self._test_source, [tested])[0]
        except NotTrainedError:
            return None

    def _batches_per_phase(self) -> list[int]:
        """Mini-batches of one worker in each phase, in all passes."""
        workers, size = self.setting.workers, self.setting.batch_size
        return [(len(batch_cuts(len(p), size, workers)) - 1) // workers * self.setting.passes for p in self._phases]

    def learning_curve(self, phase: int) -> list[float | None] | None:
        """Test accuracy of the method before the first mini-batches of a phase; None unless `--lca` asks for it."""
        return self._curves.pop(phase).values if phase in self._curves else None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Name of each feature of a sample; empty where they have none."""
        return self._data.feature_names

    # For results and checkpoints.

    @override
    def classes(self) -> Classes:
        return self._tasks.classes

    def as_earlier(self) -> EarlierData:
        """The data of this stream, for tests of a run that extends it."""
        return EarlierData(self._data, self._source.tasks, self._tasks.names)

    @override
    def task_names(self) -> tuple[str, ...]:
        return self._tasks.names

    def fingerprint(self) -> dict[str, object]:
        """The data set and its classes. All else follows from the options."""
        facts = describe_data(self._data)
        if self._data.class_names:
            facts["class names"] = ", ".join(self._data.class_names)
        if self._earlier is not None:
            facts["earlier run"] = self._earlier.identity
        return facts

    def result_fields(self, details: list[dict[str, object]]) -> State:
        """Of label sets: the labels of each group, and the scores by group after each phase."""
        if not isinstance(self._evaluation, LabelEvaluation):
            return {}
        return {"label_groups": self._evaluation.groups, "label_scores": details}

    def drawn(self) -> dict[str, object]:
        """Of a stream of tasks: name, year and group of each task of the run."""
        own = self._names[self.first_task : self.first_task + self.num_tasks]
        return {"task_list": list(own)} if own else {}
