"""Just-in-time learning: a model for each query, of its neighbours (Bottou and Vapnik, 1992, "Local Learning")."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from redwood.branches.streaming.prequential import PrequentialMethod, predict_ridge, ridge_flops
from redwood.buffers import BufferInputError, RehearsalBuffer, Ring, StorageError
from redwood.core.checks import check_choice, check_range
from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.core.parts import Choice, make_parts
from redwood.core.seeding import derive_seed
from redwood.core.state import State
from redwood.methods.replay.parts import BUFFER_POLICIES
from redwood.methods.training.heads import predicts_numbers
from redwood.settings.supervised import SupervisedSetting

_ELEMENTS = 2**22  # that are gathered at a time


@dataclass
class JustInTime(PrequentialMethod):
    """For each query, fit a local model to its nearest stored samples, predict, and discard the model.

    A neighbour at distance d has the weight exp(-(d / h)^2). Here h is the distance of the farthest one (Atkeson,
    Moore and Schaal, 1997, "Locally Weighted Learning", section 4). Nothing is trained. A rule that returns in the
    stream is known again, if its samples are still stored and their inputs differ from those of other rules.
    """

    regression: ClassVar[bool] = True

    neighbours: int = 40  # nearest samples that a local model is fitted to
    local_model: str = "ridge"  # ridge (linear) or vote (a weighted mean; of classes, a vote)
    ridge: float = 0.01  # penalty of the squared weights of a local model
    buffer_size: int = 1000  # samples that are stored
    buffer_policy: Choice = BUFFER_POLICIES.chosen("ring")  # policy that chooses the samples to keep; ring: the latest

    def __post_init__(self) -> None:
        make_parts(self)
        check_range(self, "neighbours", 1)
        check_choice(self, "local_model", ("ridge", "vote"))
        check_range(self, "ridge", 1e-9)
        check_range(self, "buffer_size", 1)
        needs = self.buffer_policy.make().needs & {"losses", "features"}
        if needs:
            raise InvalidOptionError(
                f"--buffer_policy {BUFFER_POLICIES.text_of(self.buffer_policy)} goes by {min(needs)}, and "
                "just_in_time trains no network that has any; choose another one, such as ring or reservoir."
            )

    def configure(self, setting: SupervisedSetting) -> None:
        """Start with no samples."""
        policy = self.buffer_policy.make()
        # With one label for all, a ring holds the latest samples of the stream, and not of each class.
        self._one_label = isinstance(policy, Ring)
        if predicts_numbers(setting.action_space) and "labels" in policy.needs and not self._one_label:
            raise InvalidOptionError(
                f"--buffer_policy {BUFFER_POLICIES.text_of(self.buffer_policy)} goes by classes, but the targets "
                f"of {setting.dataset} are numbers; choose another one, such as ring or reservoir."
            )
        super().configure(setting)
        self.buffer = self.add_state("buffer", self._empty_buffer(), buffer=True)
        # All stored inputs and targets, once they are asked for.
        self._database: tuple[Tensor, Tensor] | None = None

    def _empty_buffer(self) -> RehearsalBuffer:
        seed = derive_seed(self.setting.seed, "database")
        return RehearsalBuffer(self.buffer_size, policy=self.buffer_policy.make(), tier="host", seed=seed)

    @override
    def forget(self) -> None:
        self.buffer = self._empty_buffer()
        self._database = None

    @override
    def kept(self) -> int:
        return len(self.buffer)

    @override
    def add(self, x: Tensor, y: Tensor) -> None:
        labels = torch.zeros(len(y), dtype=torch.int64) if self._one_label else y
        try:
            self.buffer.add({"x": x, "y": y}, labels=labels)
        except (StorageError, BufferInputError) as error:
            raise RedwoodError(str(error)) from error
        self._database = None

    @override
    def answer(self, x: Tensor) -> Tensor:
        if self._database is None:
            rows = self.buffer.all()
            self._database = self.inputs(rows["x"]), self.targets(rows["y"])
        n = min(self.neighbours, len(self.buffer))
        chunk = max(1, _ELEMENTS // (n * x.shape[1]))
        return torch.cat([self._answer(part, *self._database, n) for part in x.split(chunk)])

    def _answer(self, x: Tensor, stored: Tensor, targets: Tensor, n: int) -> Tensor:
        distances, nearest = torch.cdist(x, stored).topk(n, dim=1, largest=False)
        farthest = distances[:, -1:].clamp(min=torch.finfo(distances.dtype).tiny)
        weights = torch.exp(-((distances / farthest) ** 2))
        if self.local_model == "vote":
            return torch.einsum("qn,qnk->qk", weights / weights.sum(1, keepdim=True), targets[nearest])
        return predict_ridge(stored[nearest], targets[nearest], weights, x, self.ridge)

    @override
    def query_flops(self, d: int) -> float:
        n, k = min(self.neighbours, len(self.buffer)), self.n_outputs
        model = ridge_flops(n, d, k) if self.local_model == "ridge" else 2.0 * n * k
        return 3.0 * d * len(self.buffer) + model

    @override
    def load_state_dict(self, state: State) -> None:
        try:
            super().load_state_dict(state)
        except (StorageError, BufferInputError) as error:
            raise RedwoodError(str(error)) from error
        self._database = None
