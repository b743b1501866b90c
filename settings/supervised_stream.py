"""Interprets the assumptions of a supervised node: which phases there are, what a batch shows, how it is scored."""

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import gymnasium
import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import InvalidOptionError, NotApplicableError, NotTrainedError
from redwood.core.seeding import derive_seed, generator, preserved_random_state
from redwood.core.workers import rank, sum_over_workers, world_size
from redwood.settings.assumptions import Context, TaskIds
from redwood.settings.base import Learner, Scores, known
from redwood.settings.config import name_of_setting
from redwood.settings.data.dataset import Dataset, describe_data
from redwood.settings.phase import Phase
from redwood.settings.prequential import check_form, check_values
from redwood.settings.results import RegressionResults, Results
from redwood.settings.streams.deck import Deck, HeldOut, Source, held_out_along
from redwood.settings.streams.loader import BatchLoader, HeldOutLoader
from redwood.settings.streams.order import (
    Entries,
    abrupt,
    batch_cuts,
    blurry,
    gradual,
    shuffled,
    split_evenly,
    task_entries,
)
from redwood.settings.streams.tasks import TaskOptions, make_tasks

if TYPE_CHECKING:
    from redwood.settings.supervised import SupervisedSetting

TEST_BATCH = 1024


class SupervisedStream:
    """The tasks of one supervised run, as phases to train on and test sets to be scored on."""

    def __init__(self, setting: "SupervisedSetting", data: Dataset) -> None:
        """Cut `data` into tasks and phases as `setting` promises and says.

        Raises:
            InvalidOptionError: If an option does not fit the data.
            NotApplicableError: If tasks are to bring classes of their own, but the data has no classes.
            DataError: If a task would be empty.
        """
        self._setting, self._data = setting, data
        self._promised = setting.assumptions
        if data.is_regression and self._adds_classes():
            raise NotApplicableError(
                f"{name_of_setting(type(setting))} adds classes from task to task, but the targets of {data.name} are "
                "numbers; choose a setting whose tasks share their outputs, such as domain_incremental."
            )
        stream = setting.stream
        if stream == "auto":
            uncut = "ordered" if data.keeps_order else "class_split"
            stream = uncut if data.contexts is None else "contexts"
        if stream == "ordered" and setting.transition == "blurry":
            raise InvalidOptionError(
                "--transition blurry mixes the samples of tasks, but --stream ordered keeps their order; "
                "leave it out or use --stream instance."
            )
        if stream == "ordered" and setting.drift_width != type(setting).drift_width:
            raise InvalidOptionError(
                f"--drift_width {setting.drift_width} has no effect on --stream ordered, which keeps the order; "
                "leave it out or use --stream instance."
            )
        self._in_order = stream == "ordered" and self._can_keep_order()
        self.results_type: type[Results] = RegressionResults if data.is_regression else Results
        tasks, self.n_outputs = make_tasks(
            data,
            TaskOptions(
                stream=stream,
                num_tasks=setting.nb_tasks,
                increment=setting.increment,
                class_order=setting.class_order,
                shared_outputs=self._promised.shared_outputs,
                seed=setting.seed,
                angles=setting.angles,
            ),
        )
        self.num_tasks = len(tasks)
        self._source = Source(data.x, data.y, tasks)
        self._classes = self._classes_of_tasks()
        self._test_source = Source(data.x_test, data.y_test, tasks)
        # Mixed, since the neighbours of a sample in its batch would tell its task.
        test = Entries.concatenate(task_entries([task.rows_test for task in tasks]))
        self._test = shuffled(test, derive_seed(setting.seed, "test order") % 2**48)
        self._phases, self._held_out = self._split(task_entries([task.rows for task in tasks]))
        self.num_phases = len(self._phases)
        smallest = min(map(len, self._phases))
        if smallest < setting.workers:
            raise InvalidOptionError(
                f"--workers {setting.workers} is more than the {smallest} samples of the smallest phase; use fewer."
            )

    def _can_keep_order(self) -> bool:
        """Whether samples come one after the other; a task that is gone through several times is shuffled."""
        promised = self._promised
        pooled = promised.context == Context.STATIONARY or promised.past_accessible
        return not pooled and (not promised.boundaries or self._setting.passes == 1)

    def _adds_classes(self) -> bool:
        """Whether tasks differ by their classes, and nothing but these: neither ids at test nor old data is given."""
        promised = self._promised
        pooled = promised.context == Context.STATIONARY or promised.past_accessible
        told = promised.shared_outputs or promised.task_ids >= TaskIds.TEST
        return promised.boundaries and not pooled and not told

    @property
    def observation_space(self) -> gymnasium.spaces.Box:
        """Shape, dtype and range of one sample; for floats the range in training (per feature for vectors)."""
        data, shape = self._data, self._data.sample_shape
        if not data.x.dtype.is_floating_point:
            dtype = np.dtype(str(data.x.dtype).removeprefix("torch."))
            return gymnasium.spaces.Box(0, data.max_value or 255, shape, dtype=dtype.type)
        assert isinstance(data.x, Tensor)
        if len(shape) == 1:
            return gymnasium.spaces.Box(data.x.amin(0).numpy(), data.x.amax(0).numpy(), dtype=np.float32)
        return gymnasium.spaces.Box(float(data.x.min()), float(data.x.max()), shape, dtype=np.float32)

    @cached_property
    def action_space(self) -> gymnasium.spaces.Discrete | gymnasium.spaces.Box:
        """The classes; of regression the range of the targets in training, () or (d,)."""
        y = self._data.y
        if not self._data.is_regression:
            return gymnasium.spaces.Discrete(self.n_outputs)
        return gymnasium.spaces.Box(y.amin(0).numpy(), y.amax(0).numpy(), tuple(y.shape[1:]), dtype=np.float32)

    def _split(self, tasks: list[Entries]) -> tuple[list[Entries], list[HeldOut]]:
        """The training samples of each phase, and what is held out from them."""
        train, held_out = self._hold_out(tasks)
        if self._in_order or not self._promised.boundaries:
            aside, n_rows = Entries.concatenate(held_out), len(self._data.y)
            pairs = [held_out_along(stream, aside, n_rows, self._setting.seed) for stream in self._arrange(tasks)]
            return [rest for rest, _ in pairs], [along for _, along in pairs]
        phases = self._arrange(train)
        if self._promised.past_accessible:
            held_out = [Entries.concatenate(held_out[: number + 1]) for number in range(len(tasks))]
        if len(phases) < len(tasks):
            held_out = [Entries.concatenate(held_out)]
        seed = derive_seed(self._setting.seed, "held out") % 2**48
        return phases, [HeldOut(shuffled(entries, seed)) for entries in held_out]

    def _hold_out(self, tasks: list[Entries]) -> tuple[list[Entries], list[Entries]]:
        """Split each task's samples into training and validation."""
        train, validation = [], []
        for number, entries in enumerate(tasks):
            order = torch.randperm(len(entries), generator=generator(self._setting.seed, "validation", number))
            held_out = int(self._setting.validation * len(entries))
            train.append(entries[order[held_out:].sort().values])
            validation.append(entries[order[:held_out].sort().values])
        return train, validation

    def _arrange(self, tasks: list[Entries]) -> list[Entries]:
        """The samples of each phase, in stream order where the order means something."""
        setting, seed = self._setting, derive_seed(self._setting.seed, "order") % 2**48
        if self._promised.context == Context.STATIONARY:
            return [Entries.concatenate(tasks)]
        if self._in_order and not self._promised.boundaries:
            return [Entries.concatenate(tasks)]
        if setting.transition == "gradual":
            return [gradual(tasks, setting.drift_width, seed)]
        if setting.transition == "blurry":
            tasks = blurry(tasks, setting.blur, seed)
        if not self._promised.boundaries:
            return [abrupt(tasks, seed)]
        if self._promised.past_accessible:
            return [Entries.concatenate(tasks[: number + 1]) for number in range(len(tasks))]
        return tasks

    def phase(self, index: int) -> Phase:
        """Build one phase for this worker."""
        entries, deck = self._phases[index], self._deck(index)
        announced = self._promised.boundaries
        one_task = announced and self.num_phases == self.num_tasks and not self._promised.past_accessible
        shows_task = self._promised.task_ids >= TaskIds.TRAINING and (one_task or self._promised.past_accessible)
        return Phase(
            index,
            task_id=index if shows_task else None,
            task_classes=self._task_classes(entries),
            train=BatchLoader(deck),
            validation=self._validation_loader(index, deck),
            action_space=self.action_space,
        )

    def samples_of(self, task: int, test: bool = False) -> tuple[Tensor, Tensor]:
        """All training or test samples (n, ...) of a task, as it shows them, and their labels (n,) or targets."""
        source = self._test_source if test else self._source
        rows = source.tasks[task].rows_test if test else source.tasks[task].rows
        entries = Entries(rows, torch.full_like(rows, task))
        return source.samples(entries), source.labels(entries)

    def _classes_of_tasks(self) -> list[tuple[int, ...]] | None:
        """The labels of all training samples of each task, ascending: what a phase shows of a task may lack some."""
        if self._data.is_regression:
            return None
        entries = task_entries([task.rows for task in self._source.tasks])
        return [tuple(torch.unique(self._source.labels(own)).tolist()) for own in entries]

    def _task_classes(self, entries: Entries) -> dict[int, tuple[int, ...]] | None:
        if self._classes is None or self._promised.task_ids < TaskIds.TRAINING:
            return None
        return {task: self._classes[task] for task in torch.unique(entries.tasks).tolist()}

    def _deck(self, index: int) -> Deck:
        return Deck(
            self._source,
            self._phases[index],
            self._setting.batch_size,
            passes=self._setting.passes,
            shuffle=self._promised.boundaries and not self._in_order,
            seed=derive_seed(self._setting.seed, "shuffling", index) % 2**48,
            show_ids=self._promised.task_ids >= TaskIds.TRAINING,
            rank=rank(),
            workers=world_size(),
        )

    def _validation_loader(self, index: int, training: Deck) -> HeldOutLoader | None:
        held_out, batch_size = self._held_out[index], self._setting.batch_size
        if len(held_out.entries) < world_size():
            return None

        def shown() -> Deck | None:
            entries = held_out.shown(training)
            if len(entries) < world_size():
                return None
            show_ids = self._promised.task_ids >= TaskIds.TRAINING
            place = {"rank": rank(), "workers": world_size()}
            return Deck(self._source, entries, batch_size, shuffle=False, seed=0, show_ids=show_ids, **place)

        cuts = batch_cuts(len(held_out.entries), batch_size, world_size())
        return HeldOutLoader(shown, (len(cuts) - 1) // world_size())

    def check(self, method: Learner) -> None:
        """Raise `NotApplicableError` if numbers are to be predicted and the method predicts classes only."""
        if self._data.is_regression and not method.regression:
            raise NotApplicableError(
                f"{method.reference()} predicts classes, but the targets of {self._data.name} are numbers; "
                "choose a method that predicts numbers, such as finetune."
            )

    def baseline(self, method: Learner) -> list[float] | None:
        """The scores before any training, which forward transfer is measured against; None if that is undefined."""
        if self._setting.eval_tasks == "seen":
            return None
        try:
            return cast("list[float]", self.evaluate(method).per_task)
        except NotTrainedError:
            return None

    def fingerprint(self) -> dict[str, Any]:
        """Of the data set: what is done with it follows from the options."""
        return describe_data(self._data)

    def result_fields(self) -> dict[str, Any]:
        """Nothing to add to the results."""
        return {}

    def drawn(self) -> dict[str, Any]:
        """Nothing: tasks follow from the options."""
        return {}

    def tasks_seen(self, phase: int) -> int:
        """One more with each phase, or all at once where one phase holds them; strays of a blurry one do not count."""
        return phase + 1 if self.num_phases == self.num_tasks else self.num_tasks

    def evaluate(self, method: Learner, num_tasks: int | None = None) -> Scores:
        """Score `method` on the test sets of the first `num_tasks` tasks, each sample once, by the task it belongs to.

        The method gets samples, and task ids where they are promised at test; labels stay here. Workers share the
        samples out and add up their counts.
        """
        tested = self._test if num_tasks is None else self._test[(self._test.tasks < num_tasks).nonzero().flatten()]
        counts, ranked = self._count(method, self._test_source, tested)
        means = counts[1:] / counts[0]
        if self._data.is_regression:
            return Scores(known(means[0].sqrt()))
        return Scores(known(means[0]), top5=known(means[1]) if ranked else None)

    def validate(self, method: Learner, phase: int) -> float | None:
        """Score `method` on all samples held out from a phase, as on test samples; None if there are none."""
        held_out = self._held_out[phase].entries
        if not len(held_out):
            return None
        counts, _ = self._count(method, self._source, held_out)
        n, total = counts[:2].sum(1).tolist()
        return float((total / n) ** 0.5 if self._data.is_regression else total / n)

    def _count(self, method: Learner, source: Source, scored: Entries) -> tuple[Tensor, bool]:
        """Samples of each task, and their hits and top-5 hits, or squared errors (3, T); and if top-5 hits count."""
        counts = torch.zeros(3, self.num_tasks, dtype=torch.float64)
        ranked = self.n_outputs > 10 and not self._data.is_regression
        shard = torch.arange(len(scored))[split_evenly(len(scored), rank(), world_size())]
        with preserved_random_state(), torch.no_grad():
            for index in shard.split(TEST_BATCH):
                entries = scored[index]
                shown = entries.tasks.clone() if self._promised.task_ids >= TaskIds.TEST else None
                y = source.labels(entries)
                answer = self._answer(method, source.samples(entries), shown)
                ranked = ranked and answer.dim() == 2
                hits = _squared_errors(answer, y) if y.is_floating_point() else _hits(answer, y)
                for row, values in enumerate((torch.ones(len(y)), *hits)):
                    counts[row].index_add_(0, entries.tasks, values.double())
        return sum_over_workers(counts), ranked

    def _answer(self, method: Learner, x: Tensor, task_id: Tensor | None) -> Tensor:
        n, answer, space = len(x), method.predict(x, task_id), self.action_space
        check_form(answer, space, n, "predict returned", scores=True)
        answer = answer.detach().cpu()
        check_values(answer, space, "predict returned")
        return answer


def _squared_errors(answer: Tensor, y: Tensor) -> tuple[Tensor]:
    """The squared error (B,) of each sample's prediction, a mean over the components of its target."""
    return ((answer.double() - y).square().view(len(y), -1).mean(1),)


def _hits(answer: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Which samples were predicted right, and which have their class among the five highest scores."""
    if answer.dim() == 1:
        return answer == y, answer == y
    highest = answer.topk(min(5, answer.shape[1]), dim=1).indices == y[:, None]
    return highest[:, 0], highest.any(1)
