"""The stream of a federated setting: its training samples lie with clients, which train in rounds."""

from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor
from typing_extensions import override

from redwood.branches.federated.clients import ClientSequence, Schedule, draw_rounds
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed
from redwood.core.workers import rank, world_size
from redwood.settings.data.entries import Entries
from redwood.settings.protocols import Learner
from redwood.settings.streams.held_out import HeldOut
from redwood.settings.streams.partition import dirichlet_owners
from redwood.settings.streams.sharded_stream import check_one_class_each
from redwood.settings.streams.supervised_stream import SupervisedStream

if TYPE_CHECKING:
    from redwood.branches.federated.setting import FederatedClassIncrementalSetting


class FederatedStream(SupervisedStream):
    """A stream whose training samples lie with clients, as many with each; a client keeps its preferences in all tasks.

    A client that holds no samples of a task takes no part in its phase. A method whose target promises clients gets
    each client as a whole: with several workers, client c trains on worker c % W. Other methods train on the clients'
    batches in turn, as if the samples had been sent to the server. Several workers then share each batch, so that a
    client needs at least one sample for each of them to take part. There is no stream if there are more clients than
    samples, or samples without classes.
    """

    setting: "FederatedClassIncrementalSetting"

    @override
    def split_into_phases(self) -> tuple[list[Entries], list[HeldOut]]:
        setting = self.setting
        check_one_class_each(f"--client_skew {setting.client_skew}", self._data)
        phases, held_out = super().split_into_phases()
        n_samples = sum(map(len, phases))
        if n_samples < setting.clients:
            raise InvalidOptionError(
                f"--clients {setting.clients} is more than the {n_samples} training samples of {self._data.name}; use "
                "fewer."
            )
        return phases, held_out

    @override
    def _can_keep_order(self) -> bool:
        return False

    @cached_property
    def client_of_samples(self) -> list[Tensor]:
        """The client of each training sample (n,) of each phase."""
        setting, stream = self.setting, Entries.concatenate(self._phases)
        n, parties = len(stream), setting.clients
        quotas = [n // parties + (client < n % parties) for client in range(parties)]
        seed = derive_seed(setting.seed, "clients")
        owners = dirichlet_owners(self._source.labels(stream), quotas, setting.client_skew, seed)
        return list(owners.split([len(entries) for entries in self._phases]))

    @override
    def batches(self, index: int, learner: Learner | None) -> ClientSequence:
        setting, seed = self.setting, derive_seed(self.setting.seed, "rounds", self.first_task + index)
        whole = learner is not None and "clients" in learner.target.assumptions
        least = 1 if whole else world_size()
        owners = self.client_of_samples[index]
        holders = (owners.bincount(minlength=setting.clients) >= least).nonzero().flatten().tolist()
        if not holders:
            raise InvalidOptionError(
                f"--workers {world_size()} is more than the samples of each client in phase {index}; use fewer."
            )
        rounds = draw_rounds(holders, setting.clients_per_round, setting.rounds, seed)
        parts = {
            client: self._phases[index][(owners == client).nonzero().flatten()]
            for client in sorted({client for chosen in rounds for client in chosen})
        }
        return ClientSequence(
            self._source,
            parts,
            setting.batch_size,
            Schedule(rounds, setting.local_passes, whole),
            seed=seed,
            show_ids=self._shows_ids,
            rank=rank(),
            workers=world_size(),
        )
