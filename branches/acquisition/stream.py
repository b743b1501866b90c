"""The stream of a setting that sells samples: a pool, the purchases so far, and the phases that train on these."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch import Tensor
from typing_extensions import override

from redwood.branches.acquisition.offer import Buys, Offer
from redwood.branches.acquisition.results import AcquisitionResults
from redwood.core.errors import InvalidOptionError, NotApplicableError
from redwood.core.schema import ListOf, Number, Record, check
from redwood.core.seeding import derive_seed, generator
from redwood.core.workers import gather_objects
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.entries import Entries
from redwood.settings.protocols import Learner
from redwood.settings.scores.results import Results
from redwood.settings.scores.slices import slicing_of
from redwood.settings.scores.task_scores import Scores
from redwood.settings.streams.held_out import HeldOut
from redwood.settings.streams.order import shuffled
from redwood.settings.streams.phase import Phase
from redwood.settings.streams.supervised_stream import SupervisedStream

if TYPE_CHECKING:
    from redwood.branches.acquisition.setting import AcquisitionSetting

T = TypeVar("T", int, float)


class AcquisitionStream(SupervisedStream):
    """Phases of bought samples: the purchases of a method after earlier phases decide each phase.

    It raises `InvalidOptionError` if a slice has fewer samples than `--initial`, or the pool costs less than
    `--budget`. It also does so if an option has another number of values than there are slices.
    """

    results_of_classes: ClassVar[type[Results]] = AcquisitionResults
    setting: "AcquisitionSetting"

    @override
    def check_data(self, data: Dataset) -> None:
        if data.is_regression or data.is_multi_label:
            kind = "targets of {} are numbers" if data.is_regression else "samples of {} may have several labels"
            raise NotApplicableError(
                f"acquisition compares the losses of classes, but the {kind.format(data.name)}; choose data with one "
                "class for each sample."
            )
        super().check_data(data)

    @override
    def split_into_phases(self) -> tuple[list[Entries], list[HeldOut]]:
        self._refuse_too_little_data()
        train, held_out = self._bought(0)
        n_phases = self.setting.rounds + 1
        return [train] * n_phases, [held_out] * n_phases

    @cached_property
    def _slice_names(self) -> tuple[str, ...]:
        return tuple(slicing_of(self._data, self.setting.dataset.columns.slices).names)

    @cached_property
    def _for_sale(self) -> list[Tensor]:
        """The training rows of each slice, in the order in which they are sold."""
        return [self._shuffled_rows(number) for number in range(self.total_tasks)]

    @cached_property
    def _costs(self) -> tuple[float, ...]:
        return self._for_each_slice("costs", self.setting.costs or [1.0])

    @cached_property
    def _initial(self) -> tuple[int, ...]:
        return self._for_each_slice("initial", self.setting.initial)

    @cached_property
    def _purchases(self) -> list[list[int]]:
        return []

    def _shuffled_rows(self, number: int) -> Tensor:
        """The training rows of a slice, but those that the data set keeps for validation, in random order."""
        rows, mask = self._source.tasks[number].rows, self._data.validation
        rows = rows if mask is None else rows[~mask[rows]]
        return rows[torch.randperm(len(rows), generator=generator(self.setting.seed, "pool", number))]

    def _for_each_slice(self, option: str, values: Sequence[T]) -> tuple[T, ...]:
        if len(values) not in (1, self.total_tasks):
            raise InvalidOptionError(
                f"--{option} has {len(values)} values for the {self.total_tasks} slices of {self._data.name}; give one "
                "number, or one for each slice."
            )
        return tuple(values) * (self.total_tasks if len(values) == 1 else 1)

    def _refuse_too_little_data(self) -> None:
        setting = self.setting
        for name, rows, first in zip(self._slice_names, self._for_sale, self._initial, strict=True):
            if first > len(rows):
                raise InvalidOptionError(
                    f"--initial {first} is more than the {len(rows)} training samples of slice {name}; use fewer."
                )
        offer = self._offer(0)
        worth = offer.cost_of(offer.pool)
        if setting.budget > worth:
            raise InvalidOptionError(
                f"--budget {setting.budget:g} is more than the {worth:g} that all samples of the pool cost; lower it, "
                "or --initial."
            )
        trained = len(self._bought(0)[0])
        if trained < setting.workers:
            raise InvalidOptionError(
                f"--workers {setting.workers} is more than the {trained} samples of the first phase; use fewer, or "
                "raise --initial."
            )

    # The stock and the purchases.

    def _sizes(self, index: int) -> list[int]:
        """Samples of each slice that phase `index` has, held-out ones included."""
        return [sum(counts) for counts in zip(self._initial, *self._purchases[:index], strict=True)]

    def _cost_of(self, counts: Sequence[int]) -> float:
        return sum(cost * count for cost, count in zip(self._costs, counts, strict=True))

    def _offer(self, index: int) -> Offer:
        """Return the offer after phase `index`."""
        sizes = self._sizes(index)
        return Offer(
            round=index,
            rounds_left=self.setting.rounds - index,
            budget=max(0.0, self.setting.budget - sum(map(self._cost_of, self._purchases[:index]))),
            names=self._slice_names,
            sizes=tuple(sizes),
            costs=self._costs,
            pool=tuple(len(rows) - size for rows, size in zip(self._for_sale, sizes, strict=True)),
        )

    def _bought(self, index: int) -> tuple[Entries, HeldOut]:
        """The training samples and the held-out samples of a phase.

        A sample that is held out once is held out always: a method is never trained on its validation samples.
        """
        share, mask = self.setting.validation, self._data.validation
        train, held_out = [], []
        for number, (rows, size) in enumerate(zip(self._for_sale, self._sizes(index), strict=True)):
            places = torch.arange(size, dtype=torch.float64)
            aside = ((places + 1) * share).floor() > (places * share).floor()
            train.append(_entries(rows[:size][~aside], number))
            own = self._source.tasks[number].rows
            held_out.append(_entries(rows[:size][aside] if mask is None else own[mask[own]], number))
        seed = derive_seed(self.setting.seed, "held out") % 2**48
        return Entries.concatenate(train), HeldOut(shuffled(Entries.concatenate(held_out), seed))

    # Phases and purchases.

    @property
    @override
    def _one_task_each(self) -> bool:
        return False

    @override
    def tasks_seen(self, phase: int) -> int:
        return self.num_tasks

    @override
    def phase(self, index: int, learner: Learner | None = None) -> Phase:
        """Build one phase; where no method has bought for it, the same is spent on each slice.

        A phase takes back the purchases after it: a stream may be gone through again.
        """
        del self._purchases[index:]
        while len(self._purchases) < index:
            self._buy(None, "")
        self._phases[index], self._held_out[index] = self._bought(index)
        return super().phase(index, learner)

    @override
    def phase_over(self, index: int, method: Learner, scores: Scores) -> dict[str, Any]:
        """Ask the method what to buy for the next phase; of several workers, the first one's answer counts.

        Returns:
            `losses` of each slice, and the numbers of samples `bought` (empty after the last phase).

        Raises:
            InvalidPurchaseError: If it buys more than there is, or than it can pay.
        """
        losses = [None] * self.total_tasks if scores.slices is None else scores.slices.loss
        if index == self.setting.rounds:
            return {"losses": losses, "bought": []}
        answer = method.acquire(self._offer(index)) if isinstance(method, Buys) else None
        # Whatever can be gone through is sent as a list: a generator, for one, cannot be sent.
        listed = list(answer) if isinstance(answer, Iterable) else answer
        self._buy(gather_objects(listed)[0], method.reference())
        return {"losses": losses, "bought": self._purchases[index]}

    def _buy(self, answer: Iterable[object] | None, method: str) -> None:
        offer = self._offer(len(self._purchases))
        counts = offer.equal_shares(offer.share) if answer is None else offer.checked(answer, method)
        self._purchases.append(counts)

    # For results and checkpoints.

    @override
    def restore(self, details: list[dict[str, Any]]) -> None:
        slices = len(self._slice_names)
        spec = Record(
            {
                "losses": ListOf(Number(low=0, optional=True), length=slices),
                "bought": ListOf(Number(low=0, whole=True)),
            }
        )
        for number, kept in enumerate(details):
            check(kept, spec, f"The purchase after phase {number} in checkpoints/boundary.pt")
        self._purchases[:] = [list(kept["bought"]) for kept in details if kept["bought"]]

    @override
    def result_fields(self, details: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "slice_names": list(self._slice_names),
            "slice_costs": list(self._costs),
            "slice_sizes": [self._sizes(index) for index in range(len(details))],
            "slice_losses": [list(kept["losses"]) for kept in details],
            "purchases": [list(counts) for counts in self._purchases],
            "spent": list(map(self._cost_of, self._purchases)),
        }


def _entries(rows: Tensor, number: int) -> Entries:
    return Entries(rows, torch.full_like(rows, number))
