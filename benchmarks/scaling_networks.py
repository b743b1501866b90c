"""What the parts of a step take over a network, measured or assumed: the model behind `scaling_model.py`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scaling_costs import CANDIDATES, RowCosts, ticket_bytes
from scaling_pipeline import Background

from redwood.buffers.distributed.peers import MANY
from redwood.buffers.samplers.counts import Draws

Counts = NDArray[np.int64]

NODE = 8  # workers of a machine
# Bytes per second: a network card for each GPU, a PCIe link, NVLink, and gloo between two processes of one machine.
NIC, PCIE, NVLINK, GLOO = 25e9, 25e9, 300e9, 32 * 150e3 / 2234e-6
# Seconds of an all_gather of 8 bytes and of an all_to_all of 8 rows of 12 kB between two workers (10th percentiles).
GATHER, ALL_TO_ALL = 178e-6, 146e-6
# Seconds: from one quiet host to the next, the work for one more message there, and a few kernels on rows.
QUIET_HOP, QUIET_PEER, ON_GPU = 30e-6, 10e-6, 50e-6


@dataclass(frozen=True)
class Network:
    """How counts and rows travel.

    Attributes:
        name: For tables.
        hop: Seconds from one worker to the next.
        peer: Seconds of each further message of an all_to_all over gloo.
        turn: Seconds of a worker's own work for a round of counts.
        message: Seconds of each further worker that rows are exchanged with by messages.
        by_nccl: Rows stay on GPUs, and are exchanged there.
        is_joint: Instead of what the code does: collectives of gloo for any number of workers.
    """

    name: str
    hop: float
    peer: float
    turn: float
    message: float
    by_nccl: bool = False
    is_joint: bool = False

    def sends_messages(self, workers: int) -> bool:
        """Whether collectives of gloo are taken apart, as in `Peers`."""
        return workers >= MANY and not self.is_joint

    def counts(self, workers: int, n_bytes: int, copying: float) -> float:
        """Seconds of the exchange of counts of so many bytes.

        An all_gather of gloo passes them on around a ring, so that workers wait N - 1 times for their neighbour. In
        rounds they wait ceil(log2 N) times; hop and turn overlap in part, which is left out. What is heard in rounds is
        copied for `copying` seconds in all.
        """
        waited = (workers - 1) * self.hop
        if self.sends_messages(workers):
            waited = (workers - 1).bit_length() * (self.hop + self.turn) + copying
        return waited + (workers - 1) * n_bytes / GLOO


@dataclass(frozen=True)
class Traffic:
    """Rows that each worker sends in some steps (S, N), to others of its node and to other nodes."""

    inside: Counts
    outside: Counts
    peers: int  # the most workers that one has rows for, or gets rows from

    @property
    def sent(self) -> Counts:
        """To all others."""
        return self.inside + self.outside


def traffic_of(draws: list[Draws], workers: int, replay: int) -> Traffic:
    """What plans make the workers send."""
    inside, outside, peers = [], [], 0
    getters = np.repeat(np.arange(workers), replay)
    for plan in draws:
        owners = np.searchsorted(plan.counts.sum(1).cumsum(0).numpy(), plan.rows.numpy(), side="right")
        same = owners // NODE == getters // NODE
        inside.append(np.bincount(owners[same & (owners != getters)], minlength=workers))
        outside.append(np.bincount(owners[~same], minlength=workers))
        pairs = np.unique(np.stack([owners, getters])[:, owners != getters], axis=1)
        peers = max(peers, *(int(np.bincount(side).max()) for side in pairs))
    return Traffic(np.stack(inside), np.stack(outside), peers)


def background_of(
    network: Network,
    workers: int,
    replay: int,
    rows: RowCosts,
    plan: float,
    load: Traffic,
    calls: float,
    n_groups: int = 1,
    copying: float = 0.0,
    reading: float = 0.0,
) -> Background:
    """The parts of a step over a network.

    An all_to_all of gloo sends a message to each other worker, empty ones included; NCCL, and messages of the code's
    own, leave these out.
    """
    counts = network.counts(workers, ticket_bytes(n_groups), copying) + reading
    if network.by_nccl:
        slowest = np.maximum(load.outside.max(1) / NIC, load.inside.max(1) / NVLINK) * rows.stride
        serve = np.full(load.sent.shape, ON_GPU)
        return Background(rows.decide, counts, plan, ON_GPU, serve, ALL_TO_ALL + slowest, ON_GPU, calls)
    further = (load.peers - 1) * network.message if network.sends_messages(workers) else (workers - 2) * network.peer
    exchange = ALL_TO_ALL + further + load.sent.max(1) * rows.stride / GLOO
    receive = replay * rows.stride / PCIE
    return Background(
        rows.decide,
        counts,
        plan,
        CANDIDATES * rows.write,
        load.sent.astype(np.float64) * rows.gather,
        exchange,
        receive,
        calls,
    )


def networks_of(messages: dict[str, float]) -> list[Network]:
    """The networks, given what `measure_messages` found: the first three as the code is, the others for comparison.

    The own work for messages is taken to be as long between quiet hosts as it was measured to be.
    """
    busy = GATHER, messages["all_to_all"], messages["round"], messages["message"]
    quiet = QUIET_HOP, QUIET_PEER, messages["round"], messages["message"]
    return [
        Network("gloo, busy machine", *busy),
        Network("gloo, quiet hosts", *quiet),
        Network("rows by NCCL, counts by gloo, quiet hosts", *quiet, by_nccl=True),
        Network("comparison: collectives only, gloo, busy machine", *busy, is_joint=True),
        Network("comparison: collectives only, gloo, quiet hosts", *quiet, is_joint=True),
    ]
