"""The node of federated learning: clients with samples of their own, which train in rounds."""

from dataclasses import dataclass
from math import floor
from typing import ClassVar

from typing_extensions import override

from redwood.branches.federated.stream import FederatedStream
from redwood.core.checks import check_positive, check_range, check_types
from redwood.core.errors import InvalidOptionError, PinnedOptionError
from redwood.core.parts import Choice
from redwood.settings.assumptions import Assumption
from redwood.settings.eval_tasks import EVAL_TASKS
from redwood.settings.streams.supervised_stream import SupervisedStream
from redwood.settings.tree import ClassIncrementalSetting

clients = Assumption("several parties hold the training samples, each its own; batches tell the client (`Batch.turn`)")


@dataclass
class FederatedClassIncrementalSetting(ClassIncrementalSetting, clients=True):
    """Class-incremental learning of clients that keep their samples, in rounds."""

    stream_type: ClassVar[type[SupervisedStream]] = FederatedStream

    eval_tasks: Choice = EVAL_TASKS.chosen("all")  # tasks that are tested after each phase
    clients: int = 10  # parties that hold the training samples, in equal parts
    # concentration of the Dirichlet distribution of a client's classes: the smaller, the fewer classes a client has
    client_skew: float = 1.0
    rounds: int = 10  # rounds of each task: the clients train, then the server averages
    participation: float = 1.0  # share of the clients that train in a round
    local_passes: int = 2  # times a client goes through its samples in a round

    @override
    def __post_init__(self) -> None:
        check_types(self)  # the passes follow from other options
        check_range(self, "clients", 2)
        check_positive(self, "client_skew")
        check_range(self, "rounds", 1, 1_000_000)
        check_range(self, "local_passes", 1, 1_000_000)
        check_range(self, "participation", 0, 1)
        if self.clients_per_round == 0:
            raise InvalidOptionError(
                f"--participation {self.participation} selects nobody of --clients {self.clients}; use at least "
                f"{0.5 / self.clients:g}."
            )
        self._set_passes()
        super().__post_init__()

    @property
    def clients_per_round(self) -> int:
        """Number of clients that train in a round, rounded, unless fewer hold samples of the task."""
        return floor(self.participation * self.clients + 0.5)

    def _set_passes(self) -> None:
        """Set `passes` to the most that a sample is presented, and refuse another number."""
        passes, default = self.rounds * self.local_passes, type(self).rounds * type(self).local_passes
        # The command line and dataclasses.replace pass the default of a finished setting on.
        if self.passes not in (None, default, passes):
            raise PinnedOptionError(
                f"--passes {self.passes} contradicts {type(self).__name__}, where clients train --rounds "
                f"{self.rounds} times --local_passes {self.local_passes}; leave it out (or None)."
            )
        self.passes = passes
