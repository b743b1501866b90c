"""The stream of a setting that gives labels on request, up to a budget: the option `--label_budget`."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor
from typing_extensions import override

from redwood.branches.label_budget.label_requests import (
    LabelRequests,
    Query,
    RequestedSequence,
    budget_of,
    check_budget,
)
from redwood.branches.label_budget.query_rules import QUERY_RULES, RandomQueries, selecting
from redwood.branches.label_budget.results import RESULTS
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.entries import Entries
from redwood.settings.protocols import Learner
from redwood.settings.scores.results import Results
from redwood.settings.scores.task_scores import Scores
from redwood.settings.streams.batches import BatchSequence
from redwood.settings.streams.held_out import HeldOut
from redwood.settings.streams.loader import HeldOutLoader
from redwood.settings.streams.order import batch_cuts
from redwood.settings.streams.supervised_stream import SupervisedStream

if TYPE_CHECKING:
    from redwood.branches.label_budget.setting import LabelBudgetSetting

_LABELS = "labels_used"


class RequestedStream(SupervisedStream):
    """A stream in which the method chooses the samples that it gets labels of; see `RequestedSequence`.

    It raises `InvalidOptionError` if the budget of a phase is less than one label.
    """

    setting: "LabelBudgetSetting"

    @cached_property
    def _requests(self) -> dict[int, LabelRequests]:
        return {}

    @override
    def check_data(self, data: Dataset) -> None:
        rule = self.setting.query_rule
        if rule.goes_by_classes and data.kind != "classes":
            raise InvalidOptionError(
                f"--query_rule {QUERY_RULES.text_of(rule)} goes by the probabilities of classes, but samples of "
                f"{data.name} do not have one class each; leave it out."
            )
        super().check_data(data)

    @override
    def split_into_phases(self) -> tuple[list[Entries], list[HeldOut]]:
        phases, held_out = super().split_into_phases()
        check_budget(self.setting.label_budget, list(map(len, phases)))
        return phases, held_out

    @override
    def batches(self, index: int, learner: Learner | None) -> BatchSequence:
        sequence = RequestedSequence(
            self._source,
            self._phases[index],
            self.setting.batch_size,
            share=self.setting.label_budget,
            delay=self.setting.delay,
            shuffle=not self._in_order,
            seed=derive_seed(self.setting.seed, "shuffling", self.first_task + index) % 2**48,
            show_ids=self._shows_ids,
        )
        if learner is not None:
            sequence.requests.ask(self._query_of(learner), learner.reference())
        self._requests[index] = sequence.requests
        return sequence

    @override
    def check(self, method: Learner) -> None:
        rule = self.setting.query_rule
        if hasattr(method, "query") and not isinstance(rule, RandomQueries):
            raise InvalidOptionError(
                f"--query_rule {QUERY_RULES.text_of(rule)} does not go with {method.reference()}, which chooses by a "
                "rule of its own; leave it out."
            )
        super().check(method)

    def _query_of(self, learner: Learner) -> Query:
        """The hook `query` of a method that has it, else the rule of the setting."""
        rule, own = self.setting.query_rule, getattr(learner, "query", None)

        def query(x: Tensor, task_id: Tensor | None, limit: int) -> object:
            if own is None:
                return rule.choose(learner, x, limit)
            with selecting(learner):
                return own(x, task_id, limit)

        return query

    @override
    def _validation_loader(self, index: int, training: BatchSequence) -> HeldOutLoader | None:
        return None  # the budget would not count the labels of held-out samples

    @override
    def _batches_per_phase(self) -> list[int]:
        budgets = [budget_of(len(entries), self.setting.label_budget) for entries in self._phases]
        return [len(batch_cuts(budget, self.setting.batch_size, 1)) - 1 if budget else 0 for budget in budgets]

    # For results and checkpoints: the labels asked for are among the details of a phase.

    @override
    def results_of(self, kind: str) -> type[Results]:
        return RESULTS[kind]

    @override
    def phase_over(self, index: int, method: Learner, scores: Scores) -> dict[str, Any]:
        return {**(super().phase_over(index, method, scores) or {}), _LABELS: self._requests.pop(index).used()}

    @override
    def result_fields(self, details: list[dict[str, Any]]) -> dict[str, Any]:
        others = [{name: value for name, value in kept.items() if name != _LABELS} for kept in details]
        # Untested phases have no other details.
        return {
            **super().result_fields([kept for kept in others if kept]),
            _LABELS: [kept[_LABELS] for kept in details],
        }
