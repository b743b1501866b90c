"""By how much a step gets longer: asynchronous rehearsal as a formula, and as a simulation of all workers.

As in the code, a step begins once its rows are there, and its backward pass once all workers' counts are: the loss is
weighed by them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]

# Of a training step: the forward pass, and how far a worker's steps scatter (standard deviation of each half).
FORWARD, JITTER = 1 / 3, 0.05
# Stragglers: of each worker's steps one in so many is held up, and likewise of its jobs in the background, by a time of
# a Pareto distribution (infinite variance); seconds, at least and at most.
ONE_IN, TAIL, LEAST, MOST = 1000, 1.5, 1e-3, 100e-3


@dataclass(frozen=True)
class Background:
    """What happens behind a training step, in seconds.

    Attributes:
        decide: What each worker decides before the counts are exchanged.
        counts: The exchange of counts, once all workers have come to it.
        plan: The plan.
        write: Storing what is kept.
        serve: Gathering what each worker sends (S, N), in S steps that are repeated.
        exchange: The exchange of rows (S,), once all workers have come to it.
        receive: Putting the own rows together, and copying them to where training is.
        calls: What the calls into the buffer take of the thread that trains; nothing hides it.
    """

    decide: float
    counts: float
    plan: float
    write: float
    serve: Times
    exchange: Times
    receive: float
    calls: float

    @property
    def before(self) -> float:
        """Until a worker knows how to weigh its loss: what the forward pass has to hide."""
        return self.decide + self.counts

    @property
    def after(self) -> float:
        """From there until the rows are ready, on average: what the rest of the step has to hide."""
        return self.plan + self.write + float(self.serve.max(1).mean() + self.exchange.mean()) + self.receive


def exposed(background: Background, step: float, *, overlap: bool) -> float:
    """Seconds by which a step of `step` seconds gets longer, if all workers keep the same pace."""
    if not overlap:
        return background.calls + background.before + background.after
    forward = FORWARD * step
    before = max(0.0, background.before - forward)
    hidden = step - forward  # by the backward pass, which does not begin before the weights are known
    return background.calls + before + max(0.0, background.after - hidden - max(0.0, forward - background.before))


def held_up(random: np.random.Generator, shape: tuple[int, ...]) -> Times:
    """Seconds that workers are held up: 0 for most of them."""
    delays = LEAST * (1 + random.pareto(TAIL, shape))
    return np.where(random.random(shape) < 1 / ONE_IN, np.minimum(delays, MOST), 0.0)


def simulate(background: Background, step: float, *, overlap: bool, n_steps: int = 2000, seed: int = 0) -> float:
    """The same where workers scatter and straggle: seconds by which the mean step gets longer.

    All workers end a step together, since gradients are averaged. The halves of a step take each worker a time of its
    own, and stragglers are held up in them, the same with rehearsal and without. With rehearsal a worker may also be
    held up before the exchange of counts and before that of rows, for which all others wait.
    """
    n_workers = background.serve.shape[1]
    random = np.random.default_rng(seed)
    shape = (n_steps, n_workers)
    forward, backward = (
        share * step * np.clip(1 + JITTER * random.standard_normal(shape), 0.5, 2.0) + held_up(random, shape)
        for share in (FORWARD, 1 - FORWARD)
    )
    deciding, serving = held_up(random, shape), held_up(random, shape)
    bare = float((forward + backward).max(1).sum())
    end, ready = 0.0, np.zeros(n_workers)
    for number in range(n_steps):
        begin = np.maximum(end, ready) + background.calls
        row = number % len(background.serve)
        decided = float((begin + background.decide + deciding[number]).max()) + background.counts
        served = decided + background.plan + background.write + float((background.serve[row] + serving[number]).max())
        moved = served + float(background.exchange[row]) + background.receive
        if overlap:
            ready = np.full(n_workers, moved)
            half = np.maximum(begin + forward[number], decided)
        else:
            half = moved + forward[number]
        end = float((half + backward[number]).max())
    return (end - bare) / n_steps
