"""A stream whose labels are asked for: in each window, the method chooses the samples that get labels."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from redwood.core.errors import InvalidOptionError, NotTrainedError, RedwoodError
from redwood.core.seeding import generator, preserved_random_state, seed_everything
from redwood.core.state import State
from redwood.settings.batch import Batch, BatchId
from redwood.settings.data.entries import Entries
from redwood.settings.scores.prequential import CURVE_POINTS
from redwood.settings.streams.batches import BatchSequence, Source
from redwood.settings.streams.order import batch_cuts

# The hook `query` of a method. It gets the samples of a window (n, ...) in their storage dtype, and their tasks (n,) or
# None where the setting hides these. It also gets the number of labels that may be asked for. It returns indices (k,)
# of samples, each once; or None: then the setting draws them. It is called before any label of the window is served.
# Labels that are not asked for may be asked for later.
Query = Callable[[Tensor, Tensor | None, int], object]


class InvalidQueryError(RedwoodError):
    """A method has asked for labels that it cannot have."""


def budget_of(n_samples: int, share: float) -> int:
    """Return a share of `n_samples` as a number of labels, rounded down except for floating-point error."""
    return int(share * n_samples + 1e-9)


def check_budget(share: float, sizes: Sequence[int]) -> None:
    """Raise `InvalidOptionError` if the share is less than one label of one of the phases, of these sizes."""
    smallest = min(sizes)
    if not budget_of(smallest, share):
        raise InvalidOptionError(
            f"--label_budget {share} is less than one label of the smallest phase, of {smallest} samples; use at least "
            f"{math.ceil(1e4 / smallest) / 1e4:g}."
        )


class RequestedSequence(BatchSequence):
    """The mini-batches of one worker, made of the samples whose labels were asked for.

    The stream is cut into windows. If all labels of a window that the budget allows are asked for, they fill one
    mini-batch. A window without a requested label is left out, so a phase may serve fewer batches than `length`.

    Attributes:
        requests: Asks the method, and keeps its answers.
    """

    def __init__(
        self,
        source: Source,
        entries: Entries,
        batch_size: int,
        *,
        share: float,
        delay: int,
        shuffle: bool,
        seed: int,
        show_ids: bool,
    ) -> None:
        """Cut `entries` into windows.

        Args:
            source: The samples and labels.
            entries: The sequence to present.
            batch_size: Labelled samples per batch.
            share: Share of the labels that may be asked for, in (0, 1].
            delay: How many windows later the labels of a window come.
            shuffle: Whether the order does not matter.
            seed: Seed of the shuffling and of random requests.
            show_ids: Whether batches carry task ids.
        """
        self._label_cuts = batch_cuts(budget_of(len(entries), share), batch_size, workers=1)
        super().__init__(source, entries, batch_size, shuffle=shuffle, seed=seed, show_ids=show_ids)
        self.requests = LabelRequests(self, self._label_cuts[1:].tolist(), share, delay, seed)
        self.watch(self.requests)

    @override
    def _cut(self, n_samples: int, batch_size: int, workers: int) -> list[int]:
        budget = int(self._label_cuts[-1])
        return [cut * n_samples // budget for cut in self._label_cuts.tolist()]

    @property
    @override
    def sizes(self) -> tuple[int, ...]:
        return tuple(self._label_cuts.diff().tolist())

    @override
    def next_batch(self) -> Batch | None:
        while self.epoch < self.epochs:
            self._tell_observers()
            step, window = self.next, self._batch_of(self._places(self.next), self.next)
            wanted = torch.zeros(len(window.y), dtype=torch.bool)
            wanted[self.requests.answers[step]] = True
            self._advance(int(wanted.sum()))
            self.unlabelled = None if bool(wanted.all()) else window.x[~wanted]
            if bool(wanted.any()):
                self.batch_id = BatchId(self.number, step, first_pass=True)
                ids = None if window.task_id is None else window.task_id[wanted]
                batch = Batch(window.x[wanted], window.y[wanted], ids)
                return batch.with_id(self.batch_id).with_unlabelled(self.unlabelled)
        return None

    @override
    def labels_shown(self, first: int = 0) -> Tensor:
        answers = self.requests.answers[first : self.steps_shown]
        places = [self._places(step)[answer] for step, answer in enumerate(answers, first)]
        return self._labels[torch.cat(places)] if places else self._labels[:0]


class LabelRequests:
    """Asks a method which labels of each window it wants, when the samples of the window come.

    The budget allows a number of labels up to each window. The method may ask for this number, less the labels that it
    has asked for already. Labels that it does not ask for, it may ask for later in the phase.

    Attributes:
        answers: The samples (k,) of each window so far whose labels were asked for, ascending.
    """

    def __init__(self, windows: RequestedSequence, allowed: Sequence[int], share: float, delay: int, seed: int) -> None:
        """Ask about windows.

        Args:
            windows: The sequence.
            allowed: Labels that may be asked for up to each window.
            share: The option `label_budget`, for messages.
            delay: How many windows later the labels of a window come.
            seed: Seed of the method's draws, and of the requests if it leaves them to the setting.
        """
        self._windows, self._allowed, self._share, self._delay, self._seed = windows, allowed, share, delay, seed
        self._query: Query | None = None
        self._name = ""
        self.answers: list[Tensor] = []
        self._n_asked = 0

    def ask(self, query: Query, name: str) -> None:
        """Ask `query`, the hook of a method called `name`; unless there is one, labels are drawn at random."""
        self._query, self._name = query, name

    def before_batch(self, number: int) -> None:
        """Ask about all windows whose samples have come before the labels of window `number` are served.

        Raises:
            InvalidQueryError: If the method asks for labels that it cannot have.
        """
        for window in range(len(self.answers), min(number + self._delay + 1, len(self._allowed))):
            batch = self._windows.peek(window)
            limit = min(self._allowed[window] - self._n_asked, len(batch.y))
            self.answers.append(self._answer(window, batch, limit))
            self._n_asked += len(self.answers[-1])

    def _answer(self, window: int, batch: Batch, limit: int) -> Tensor:
        """The samples (k,) of a window that are to be labelled, ascending."""
        answer = None
        if self._query is not None:
            # A resumed run asks before its random generators are restored, so each window has a seed of its own.
            with preserved_random_state():
                seed_everything(self._seed, "query", window)
                try:
                    answer = self._query(batch.x, batch.task_id, limit)
                except NotTrainedError:  # nothing has been learned that a choice could be made by
                    answer = None
        if answer is None:
            answer = torch.randperm(len(batch.y), generator=generator(self._seed, "labels", window))[:limit]
        return checked_answer(answer, len(batch.y), limit, f"{self._name}.query", self._share).sort().values

    def used(self) -> list[int]:
        """Labels asked for so far at each point of the online curve, whose points are windows."""
        totals = torch.tensor([len(answer) for answer in self.answers], dtype=torch.long).cumsum(0)
        return [int(part[-1]) for part in totals.tensor_split(min(CURVE_POINTS, len(totals)))] if len(totals) else []

    def state_dict(self) -> State:
        """Return the answers so far, including those whose labels have not come yet."""
        # Two tensors: one for each window would make a checkpoint of a long stream slow.
        sizes = torch.tensor([len(answer) for answer in self.answers], dtype=torch.long)
        return {"answers": torch.cat([*self.answers, torch.empty(0, dtype=torch.long)]), "sizes": sizes}

    def load_state_dict(self, state: State) -> None:
        """Continue behind the last window that was asked about."""
        self.answers = list(state["answers"].clone().split(state["sizes"].tolist()))
        self._n_asked = len(state["answers"])


def checked_answer(answer: object, n: int, limit: int, call: str, share: float) -> Tensor:
    """The indices (k,) that a method asks the labels of.

    Args:
        answer: The result of its `query`.
        n: Samples in the window.
        limit: Labels that may be asked for.
        call: The call, for messages.
        share: The option `label_budget`, for messages.

    Raises:
        InvalidQueryError: If the answer is no list of indices, or asks for too many labels, one label twice, or one
            outside the window.
    """
    try:
        indices = torch.as_tensor(answer).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        indices = torch.ones(())
    if indices.shape == (0,):
        return torch.empty(0, dtype=torch.long)
    if indices.dim() != 1 or indices.dtype not in (torch.int64, torch.int32):
        given = f"{tuple(answer.shape)} of {answer.dtype}" if isinstance(answer, Tensor) else type(answer).__name__
        raise InvalidQueryError(f"{call} returned {given}; return the indices (k,) of samples, integers, or None.")
    if len(indices) > limit:
        raise InvalidQueryError(
            f"{call} asks for {len(indices)} labels, but --label_budget {share} leaves {limit} for this window of {n} "
            f"samples; return at most {limit} indices."
        )
    outside = indices[(indices < 0) | (indices >= n)]
    if len(outside):
        raise InvalidQueryError(f"{call} asks for sample {int(outside[0])} of a window of {n}; return 0 to {n - 1}.")
    values, times = indices.unique(return_counts=True)
    if len(values) < len(indices):
        twice = int(values[times > 1][0])
        raise InvalidQueryError(f"{call} asks for the label of sample {twice} twice; return each index once.")
    return indices.long()
