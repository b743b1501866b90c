"""The stream of a setting that gives labels on request, up to a budget: the option `--label_budget`."""

from functools import cached_property
from typing import TYPE_CHECKING

from typing_extensions import override

from redwood.core.seeding import derive_seed
from redwood.settings.data.entries import Entries
from redwood.settings.protocols import Learner
from redwood.settings.streams.batches import BatchSequence
from redwood.settings.streams.held_out import HeldOut
from redwood.settings.streams.label_requests import LabelRequests, RequestedSequence, budget_of, check_budget
from redwood.settings.streams.loader import HeldOutLoader
from redwood.settings.streams.order import batch_cuts
from redwood.settings.supervised_stream import SupervisedStream

if TYPE_CHECKING:
    from redwood.settings.tree import LabelBudgetSetting


class RequestedStream(SupervisedStream):
    """A stream in which the method chooses the samples that it gets labels of; see `RequestedSequence`.

    It raises `InvalidOptionError` if the budget of a phase is less than one label.
    """

    _setting: "LabelBudgetSetting"

    @cached_property
    def _requests(self) -> dict[int, LabelRequests]:
        return {}

    @override
    def _split_into_phases(self) -> tuple[list[Entries], list[HeldOut]]:
        phases, held_out = super()._split_into_phases()
        check_budget(self._setting.label_budget, list(map(len, phases)))
        return phases, held_out

    @override
    def _batches(self, index: int, learner: Learner | None) -> BatchSequence:
        sequence = RequestedSequence(
            self._source,
            self._phases[index],
            self._setting.batch_size,
            share=self._setting.label_budget,
            delay=self._setting.delay,
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
        budgets = [budget_of(len(entries), self._setting.label_budget) for entries in self._phases]
        return [len(batch_cuts(budget, self._setting.batch_size, 1)) - 1 if budget else 0 for budget in budgets]

    @override
    def labels_used(self, phase: int) -> list[int]:
        return self._requests.pop(phase).used()
