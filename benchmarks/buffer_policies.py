"""What keeping and drawing samples costs: every policy and every sampler, beside Avalanche's and torchrl's buffers.

Batches of 32 samples 1x28x28 float32 of 10 classes, and a buffer of 500.
"""

from collections.abc import Callable
from functools import partial
from statistics import fmean, median
from typing import Any

import bare
import buffer_peers
import torch
from common import Seconds, median_ratio, take_turns
from torch import Tensor

from redwood.buffers import POLICIES, SAMPLERS, RehearsalBuffer

BATCH, CAPACITY, N_CLASSES = 32, 500, 10
# Updates from empty that the rate is taken over; updates before the first and the last cost are; updates of each cost.
UPDATES, EARLY, LATE, WINDOW = 300, 50, 5000, 128
DRAWS = 200
# Updates of a peer that are timed after EARLY and LATE: they are so slow that more would take most of the time.
PEER_WINDOW = 20

Run = Callable[[], Seconds]
BARE, PEER = "bare tensors", "Avalanche ReservoirSamplingBuffer"


class Stream:
    """The batches that come in, made beforehand, and what policies and samplers may want to know of them."""

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(0)
        n = UPDATES * BATCH
        x, y = torch.rand(n, 1, 28, 28, generator=random), torch.randint(0, N_CLASSES, (n,), generator=random)
        told = {
            "tasks": y // 2,
            "losses": torch.rand(n, generator=random),
            "features": torch.randn(n, 64, generator=random),
        }
        self.batches = [{"x": a, "y": b} for a, b in zip(x.split(BATCH), y.split(BATCH), strict=True)]
        self._told = [{name: values.split(BATCH)[i] for name, values in told.items()} for i in range(UPDATES)]

    def add(self, buffer: RehearsalBuffer, start: int, n: int) -> None:
        """Offer `n` batches, from number `start` on; after the last one they come again."""
        wanted = [name for name in ("tasks", "losses", "features") if name in buffer.needs]
        for i in range(start, start + n):
            told: dict[str, Tensor] = {name: self._told[i % UPDATES][name] for name in wanted}
            buffer.add(self.batches[i % UPDATES], **told)

    def bare_buffer(self) -> bare.TensorReservoir:
        """An empty buffer of two tensors."""
        first = self.batches[: CAPACITY // BATCH + 1]
        x, y = (torch.cat([batch[name] for batch in first]) for name in ("x", "y"))
        return bare.TensorReservoir(CAPACITY, x, y)


def _timed(call: Callable[[], object], n: int) -> Seconds:
    start = Seconds.now()
    call()
    return Seconds.now().since(start).each(n)


def compare_inserts(stream: Stream, rounds: int) -> list[dict[str, Any]]:
    """Rates of updates from an empty buffer on, of all policies."""
    runs = {f"redwood {name}": partial(_redwood_inserts, stream, name, UPDATES) for name in POLICIES}
    runs[BARE] = partial(_bare_inserts, stream, UPDATES)
    if buffer_peers.torchrl_version() is not None:
        runs["torchrl ReplayBuffer (ring)"] = partial(_torchrl_inserts, stream)
    if buffer_peers.avalanche_version() is not None:
        runs |= {f"Avalanche {name}": partial(_avalanche_inserts, stream, name) for name in buffer_peers.POLICIES}
    return _rates(take_turns(runs, rounds), "redwood reservoir")


def compare_long_streams(stream: Stream, rounds: int, peer: list[Seconds]) -> list[dict[str, Any]]:
    """Rates of the updates of a reservoir over a long stream, which has ever fewer rows to write.

    Args:
        stream: The batches.
        rounds: How often redwood's are measured.
        peer: What `peer_updates` returned.
    """
    runs: dict[str, Run] = {
        "redwood reservoir": partial(_redwood_inserts, stream, "reservoir", LATE),
        BARE: partial(_bare_inserts, stream, LATE),
    }
    times = take_turns(runs, rounds)
    if peer:
        whole = Seconds(*(fmean(getattr(span, clock) for span in peer[:LATE]) for clock in Seconds._fields))
        times[PEER] = [whole] * rounds
    return _rates(times, "redwood reservoir")


def _redwood_inserts(stream: Stream, name: str, n: int) -> Seconds:
    buffer = RehearsalBuffer(CAPACITY, policy=POLICIES[name]())
    return _timed(lambda: stream.add(buffer, 0, n), n)


def _bare_inserts(stream: Stream, n: int) -> Seconds:
    buffer = stream.bare_buffer()

    def add() -> None:
        for i in range(n):
            buffer.add(stream.batches[i % UPDATES])

    return _timed(add, n)


def _torchrl_inserts(stream: Stream) -> Seconds:
    batches = [buffer_peers.torchrl_samples(batch) for batch in stream.batches]
    buffer = buffer_peers.torchrl_buffer(CAPACITY, BATCH)
    return _timed(lambda: [buffer.extend(batch) for batch in batches], UPDATES)


def _avalanche_inserts(stream: Stream, name: str) -> Seconds:
    # Made anew each time, as it merges data sets that it has seen before; not timed.
    data = [buffer_peers.avalanche_dataset(batch) for batch in stream.batches]
    buffer = buffer_peers.avalanche_buffer(name, CAPACITY)
    return _timed(lambda: [buffer.update_from_dataset(d) for d in data], UPDATES)


def compare_draws(stream: Stream, rounds: int) -> list[dict[str, Any]]:
    """Rates of drawing 32 samples, copies included, from a full buffer."""
    runs = {f"redwood {name}": _redwood_draws(stream, name) for name in SAMPLERS}
    buffer = stream.bare_buffer()
    for batch in stream.batches:
        buffer.add(batch)
    runs[BARE] = lambda: _timed(lambda: [buffer.sample(BATCH) for _ in range(DRAWS)], DRAWS)
    if buffer_peers.torchrl_version() is not None:
        runs["torchrl ReplayBuffer"] = _torchrl_draws(stream)
    if buffer_peers.avalanche_version() is not None:
        runs |= {f"Avalanche {name}": _avalanche_draws(stream, name) for name in buffer_peers.POLICIES}
    return _rates(take_turns(runs, rounds), "redwood uniform")


def _redwood_draws(stream: Stream, name: str) -> Run:
    random = torch.Generator().manual_seed(0)
    buffer = RehearsalBuffer(CAPACITY, sampler=SAMPLERS[name]())
    stream.add(buffer, 0, UPDATES)
    if "features" in buffer.needs:
        buffer.refresh(torch.randn(CAPACITY, 64, generator=random))
    scores = torch.rand(CAPACITY, generator=random)
    rate = (lambda samples: scores[: len(samples["y"])]) if "rate" in buffer.needs else None
    return lambda: _timed(lambda: [buffer.sample(BATCH, rate=rate) for _ in range(DRAWS)], DRAWS)


def _torchrl_draws(stream: Stream) -> Run:
    buffer = buffer_peers.torchrl_buffer(CAPACITY, BATCH)
    for batch in stream.batches:
        buffer.extend(buffer_peers.torchrl_samples(batch))
    return lambda: _timed(lambda: [buffer.sample() for _ in range(DRAWS)], DRAWS)


def _avalanche_draws(stream: Stream, name: str) -> Run:
    buffer = buffer_peers.avalanche_buffer(name, CAPACITY)
    for batch in stream.batches[: CAPACITY // BATCH + 1]:
        buffer.update_from_dataset(buffer_peers.avalanche_dataset(batch))
    return lambda: _timed(lambda: list(buffer_peers.avalanche_draws(buffer, BATCH, DRAWS)), DRAWS)


def _rates(times: dict[str, list[Seconds]], reference: str) -> list[dict[str, Any]]:
    rows = []
    for name, spans in times.items():
        rows.append(
            {
                "variant": name,
                "batches/s": 1 / median(span.wall for span in spans),
                "batches/CPU s": 1 / median(span.cpu for span in spans),
                f"{reference} is faster by (CPU)": median_ratio(
                    [span.cpu for span in spans], [span.cpu for span in times[reference]]
                ),
            }
        )
    return rows


def compare_ages(stream: Stream, rounds: int, peer: list[Seconds]) -> list[dict[str, Any]]:
    """Costs of an update after few and after many of them: a new buffer in each round, and one that grows old.

    Args: as for `compare_long_streams`.
    """
    runs: dict[str, Run] = {}
    for name in POLICIES:
        runs[f"{name}, {EARLY}"], runs[f"{name}, {LATE}"] = partial(_young, stream, name), _old(stream, name)
    times = take_turns(runs, rounds)
    rows = [_age(f"redwood {name}", times[f"{name}, {EARLY}"], times[f"{name}, {LATE}"]) for name in POLICIES]
    if peer:
        rows.append(_age(PEER, peer[EARLY : EARLY + PEER_WINDOW], peer[LATE:]))
    return rows


def _young(stream: Stream, name: str) -> Seconds:
    buffer = RehearsalBuffer(CAPACITY, policy=POLICIES[name]())
    stream.add(buffer, 0, EARLY)
    return _timed(lambda: stream.add(buffer, EARLY, WINDOW), WINDOW)


def _old(stream: Stream, name: str) -> Run:
    buffer = RehearsalBuffer(CAPACITY, policy=POLICIES[name]())
    stream.add(buffer, 0, LATE)
    # Only its policy knows the age; which batch comes next does not matter.
    return lambda: _timed(lambda: stream.add(buffer, LATE, WINDOW), WINDOW)


def peer_updates(stream: Stream) -> list[Seconds]:
    """Times of the updates of Avalanche's reservoir, one after the other, in one pass; none if it is not installed."""
    if buffer_peers.avalanche_version() is None:
        return []
    buffer = buffer_peers.avalanche_buffer("ReservoirSamplingBuffer", CAPACITY)
    spans = []
    for i in range(LATE + PEER_WINDOW):
        data = buffer_peers.avalanche_dataset(stream.batches[i % UPDATES])
        start = Seconds.now()
        buffer.update_from_dataset(data)
        spans.append(Seconds.now().since(start))
    return spans


def _age(name: str, early: list[Seconds], late: list[Seconds]) -> dict[str, Any]:
    return {
        "variant": name,
        f"after {EARLY} (CPU, us)": 1e6 * median(span.cpu for span in early),
        f"after {LATE} (CPU, us)": 1e6 * median(span.cpu for span in late),
        "ratio (CPU)": median(span.cpu for span in late) / median(span.cpu for span in early),
    }
