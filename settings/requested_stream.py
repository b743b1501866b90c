"""The stream of a setting that gives labels on request, up to a budget: the option `--label_budget`."""

from collections.abc import Sequence
from typing import Protocol

from typing_extensions import override

from redwood.core.seeding import derive_seed
from redwood.settings.data.dataset import Dataset
from redwood.settings.protocols import Learner
from redwood.settings.streams.batches import BatchSequence
from redwood.settings.streams.label_requests import LabelRequests, RequestedSequence, budget_of, check_budget
from redwood.settings.streams.loader import HeldOutLoader
from redwood.settings.streams.order import batch_cuts
from redwood.settings.streams.phases import SupervisedOptions
from redwood.settings.supervised_stream import SupervisedStream


class RequestedOptions(SupervisedOptions, Protocol):
    """The options of a setting that gives labels on request."""

    label_budget: float


class RequestedStream(SupervisedStream):
    """A stream in which the method chooses the samples that it gets labels of; see `RequestedSequence`."""

    def __init__(self, setting: RequestedOptions, data: Dataset, names: Sequence[dict[str, object]] = ()) -> None:
        """Cut `data` into tasks and phases; see `SupervisedStream`.

        Raises:
            InvalidOptionError: If the budget of a phase is less than one label.
        """
        self._share = setting.label_budget
        self._requests: dict[int, LabelRequests] = {}
        super().__init__(setting, data, names)
        check_budget(self._share, list(map(len, self._phases)))

    @override
    def _batches(self, index: int, learner: Learner | None) -> BatchSequence:
        sequence = RequestedSequence(
            self._source,
            self._phases[index],
            self._setting.batch_size,
            share=self._share,
            delay=self._setting.label_delay,
            shuffle=not self._in_order,
            seed=derive_seed(self._setting.seed, "shuffling", self.first_task + index) % 2**48,
            show_ids=self._shows_ids,
        )
        if learner is not None:
            sequence.requests.ask(learner.query, learner.reference())
        self._requests[index] = sequence.requests
        return sequence

    @override
    def _validation_loader(self, index: int, training: BatchSequence) -> HeldOutLoader | None:
        return None  # the budget would not count the labels of held-out samples

    @override
    def _batches_per_phase(self) -> list[int]:
        budgets = [budget_of(len(entries), self._share) for entries in self._phases]
        return [len(batch_cuts(budget, self._setting.batch_size, 1)) - 1 if budget else 0 for budget in budgets]

    @override
    def labels_used(self, phase: int) -> list[int]:
        return self._requests.pop(phase).used()
