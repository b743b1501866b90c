"""Federated averaging."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from redwood.branches.federated.setting import FederatedClassIncrementalSetting
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import seed_everything
from redwood.core.state import State, copy_state, count_bytes
from redwood.core.workers import gather_objects
from redwood.methods.base import Composition
from redwood.methods.lightning import LightningMethod
from redwood.methods.training.optimizers import bare_optimizer
from redwood.methods.training.schedules import LR_SCHEDULES, ConstantRate
from redwood.methods.training.step import Step
from redwood.settings.batch import Turn
from redwood.settings.supervised import SupervisedSetting

Weights = dict[str, Tensor]
# The answer of a client: its number, the number of its samples, and its weights.
Returned = tuple[int, int, Weights]


@dataclass
class FedAvg(LightningMethod):
    """Clients train copies of the global network apart; the server averages them, weighted by samples.

    Algorithm 1 of McMahan et al. (2017), "Communication-Efficient Learning of Deep Networks from Decentralized Data".
    In each round, each of its clients starts from the global weights with a new optimizer, and trains on its own
    samples. Then w = sum_c n_c / n * w_c, where n_c are the samples of client c. Buffers of the network, such as
    running means, are averaged alike. Predictions are made by the global network.

    With several workers, client c trains on worker c % W, and no worker hears of the others within a round. Sums are
    taken in the order of the clients, so the result does not depend on the number of workers, bit for bit on CPU.

    Attributes:
        global_weights: Parameters and buffers of the global network, by name.
        returned: Answers of the clients of this worker in the round so far.
        visit: Phase, round and client of the training now.
        bytes_sent: Bytes of weights that server and clients have sent each other, all clients of this worker counted.
    """

    target = FederatedClassIncrementalSetting
    composition: ClassVar[Composition] = Composition.NEVER
    unused_options: ClassVar[Mapping[str, str]] = {
        "accumulate_grad_batches": "whose clients would share gradients where their turns change",
        "patience": "whose rounds the setting counts",
    }

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optimizer_state == "keep":
            raise InvalidOptionError(
                "--optimizer_state keep contradicts federated averaging, where clients begin each round with a new "
                "optimizer; leave it out."
            )
        if not isinstance(self.lr_schedule, ConstantRate):
            raise InvalidOptionError(
                f"--lr_schedule {LR_SCHEDULES.text_of(self.lr_schedule)} follows the steps of one learner, but here "
                "clients train apart; use --regime decaying."
            )

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.global_weights: Weights = self.add_state("global_weights", self.copied_network())
        self.returned: list[Returned] = self.add_state("returned", [])
        self.visit: list[int] = self.add_state("visit", [])
        self.bytes_sent = self.add_state("bytes_sent", 0)
        self._local: State | None = None

    def copied_network(self) -> Weights:
        """Parameters and buffers of the network as they are now, by name."""
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    @override
    def strategy(self) -> str:
        return "auto" if self.setting.workers == 1 else "apart"

    # A client's turn.

    @override
    def augment(self, step: Step) -> None:
        turn = step.incoming.turn
        assert turn is not None
        if turn.client is not None and self.visit != [self.phase.index, turn.round, turn.client]:
            self.visit = [self.phase.index, turn.round, turn.client]
            self.start_turn(turn)
        super().augment(step)

    def start_turn(self, turn: Turn) -> None:
        """Give a client the global weights and a new optimizer."""
        self.network.load_state_dict(self.global_weights)
        self.bytes_sent += count_bytes(self.global_weights)
        for optimizer in self.module.trainer.optimizers:
            optimizer.state.clear()
            optimizer.state.update(bare_optimizer(self).state)  # empty, but for optimizers such as adagrad
        # Draws of a client, such as those of dropout, depend neither on the other clients nor on its worker.
        seed_everything(self.setting.seed, "turn", *self.visit)

    @override
    def loss(self, step: Step) -> Tensor:
        turn = step.incoming.turn
        if turn is not None and turn.client is None:
            # This worker waits for others: no weight gets a gradient, so the optimizer moves none.
            return torch.zeros((), device=self.device, requires_grad=True)
        return super().loss(step)

    @override
    def on_batch_end(self, step: Step, loss: Tensor, batch_idx: int) -> None:
        super().on_batch_end(step, loss, batch_idx)
        turn = step.incoming.turn
        assert turn is not None
        if turn.client is not None and turn.ends:
            self.returned.append((turn.client, turn.n_samples, self.copied_network()))
            self.bytes_sent += count_bytes(self.global_weights)
        if turn.ends_round:
            self.end_round()

    def end_round(self) -> None:
        """Average the weights that all clients have returned, as the server; every worker gets the same average."""
        own = copy_state(self.returned)
        everyone = [returned for worker in gather_objects(own) for returned in worker]
        self.global_weights = {
            name: value.to(self.device) for name, value in average(sorted(everyone, key=lambda one: one[0])).items()
        }
        self.network.load_state_dict(self.global_weights)
        self.returned = []

    @override
    def on_task_end(self, task_id: int | None) -> None:
        super().on_task_end(task_id)
        self.run.log({"bytes_sent": float(sum(gather_objects(self.bytes_sent)))})

    # Workers differ within a round, but Lightning saves network and optimizer of the first one alone.

    @override
    def inside_state(self) -> State:
        (optimizer,) = self.module.trainer.optimizers
        local = {"network": self.copied_network(), "optimizer": optimizer.state_dict()}
        return super().inside_state() | {"local": copy_state(local)}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._local = state.get("local")

    @override
    def on_train_start(self) -> None:
        super().on_train_start()
        if self._local is not None:
            self.network.load_state_dict(self._local["network"])
            self.module.trainer.optimizers[0].load_state_dict(self._local["optimizer"])
            self._local = None


def average(returned: Sequence[Returned]) -> Weights:
    """The mean of the weights of clients, each counted by its samples, summed up in 64 bits in the given order.

    Whole numbers, such as the counts of batch normalisation, are rounded.
    """
    total = sum(n for _, n, _ in returned)
    means: Weights = {}
    for name, like in returned[0][2].items():
        mean = sum((n / total * weights[name].double() for _, n, weights in returned), torch.zeros(()).double())
        means[name] = (mean if like.is_floating_point() else mean.round()).to(like.dtype)
    return means
