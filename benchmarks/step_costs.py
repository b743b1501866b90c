"""Where the time of a rehearsal step goes at batch 32, and what the knobs are worth.

Stages add up from a loop written by hand to redwood's whole `fit`. Then come Lightning's own loop, and single knobs.

Run: python benchmarks/step_costs.py [--data_dir data] [--rounds 11]. Writes benchmarks/results/step_costs.*.
"""

import argparse
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any
from unittest.mock import patch

import bare
import torch
from clocked import ClockedRehearsal, use_one_thread
from common import Seconds, environment, load_images, markdown_table, take_turns, write

from redwood.buffers import RehearsalBuffer
from redwood.engine.loop import quiet_lightning
from redwood.engine.run import Run
from redwood.methods.networks import build_network
from redwood.methods.training import optimizers
from redwood.methods.training.step import Step
from redwood.settings.data.dataset import Dataset
from redwood.settings.phase import Phase
from redwood.settings.tree import OnlineClassIncrementalSetting

BATCH, BUFFER, SAMPLES = 32, 500, 20_000
FULL = "redwood's fit"


class HandLoop(ClockedRehearsal):
    """Redwood's stream, buffer and online accuracy in a loop written by hand."""

    def fit(self, phase: Phase) -> None:
        """Train without a Trainer."""
        self.phase = phase
        self.steps.append([])
        start = Seconds.now()
        optimizer = torch.optim.SGD(self.network.parameters(), lr=self.lr)
        for number, batch in enumerate(phase.train):
            step = Step(incoming=batch, on_host=batch, first_pass=phase.train.first_pass, batch=batch)
            loss = self.module.training_step(step, number)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.fit_time = self.fit_time.plus(Seconds.now().since(start))


class Costs:
    """Runs of one data set."""

    def __init__(self, data: Dataset) -> None:
        assert isinstance(data.x, torch.Tensor)
        # Short runs: the rounds of all variants then lie closer together.
        self._data = replace(data, x=data.x[:SAMPLES], y=data.y[:SAMPLES])
        members = [(self._data.y // 2 == task).nonzero().view(-1) for task in range(5)]
        self._tasks = [(data.x[rows], data.y[rows]) for rows in members]

    def bare(self, *, count_online: bool) -> tuple[Seconds, Seconds | None]:
        """Time of a step by hand; there is nothing to set up in a phase."""
        network = build_network("mlp", self._setting().observation_space, self._data.n_classes)
        start = Seconds.now()
        bare.train(network, self._tasks, BATCH, memory=RehearsalBuffer(BUFFER), count_online=count_online)
        return Seconds.now().since(start).each(sum(-(-len(y) // BATCH) for _, y in self._tasks)), None

    def redwood(
        self,
        method_class: type[ClockedRehearsal] = ClockedRehearsal,
        changed: Callable[[], AbstractContextManager[Any]] = nullcontext,
        *,
        lean: bool = True,
    ) -> tuple[Seconds, Seconds | None]:
        """Time of a step, and time that a phase takes beyond its steps."""
        setting = self._setting()
        method = method_class(model="mlp", lr=bare.LR, buffer_size=BUFFER)
        method.start_clock()
        method.attach(Run(quiet=True, accelerator="cpu", lean_loop=lean))
        method.configure(setting.for_method())
        with quiet_lightning(), changed():
            for phase in setting.phases():
                method.fit(phase)
        step = method.steady_step()
        n_steps, num_phases = sum(map(len, method.steps)), len(method.steps)
        rest = [(whole - n_steps * each) / num_phases for whole, each in zip(method.fit_time, step, strict=True)]
        return step, Seconds(*rest)

    def _setting(self) -> OnlineClassIncrementalSetting:
        return OnlineClassIncrementalSetting(dataset=self._data, class_order=list(range(10)), batch_size=BATCH)


@contextmanager
def without_collector() -> Iterator[None]:
    """Switch Python's garbage collector off."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def with_fused_sgd() -> AbstractContextManager[Any]:
    """Update all weights in one kernel."""

    def fused(method: Any, parameters: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, method.lr, fused=True)

    return patch.object(optimizers, "new_optimizer", fused)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    use_one_thread()
    costs = Costs(load_images(options.data_dir))
    variants: dict[str, Callable[[], tuple[Seconds, Seconds | None]]] = {
        "bare replay": partial(costs.bare, count_online=False),
        "+ online accuracy": partial(costs.bare, count_online=True),
        "+ redwood's stream, buffer and scoring": partial(costs.redwood, HandLoop),
        FULL: costs.redwood,
        "with --lean_loop false": partial(costs.redwood, lean=False),
    }
    knobs: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "fused SGD": with_fused_sgd,
        "no garbage collector": without_collector,
    }
    for name, changed in knobs.items():
        variants[f"knob: {name}"] = partial(costs.redwood, ClockedRehearsal, changed)
    timings = take_turns(variants, options.rounds)
    full = timings[FULL]
    rows = []
    for name, times in timings.items():
        difference = median(step.cpu - other.cpu for (step, _), (other, _) in zip(times, full, strict=True))
        per_phase = [rest.cpu for _, rest in times if rest is not None]
        rows.append(
            {
                "variant": name,
                "step (us, CPU)": median(step.cpu for step, _ in times) * 1e6,
                "step (us, wall)": median(step.wall for step, _ in times) * 1e6,
                "against redwood's fit (us, CPU)": difference * 1e6,
                "once per phase (ms, CPU)": median(per_phase) * 1e3 if per_phase else None,
            }
        )
    write("step_costs", {**environment(), "rounds": options.rounds, "rows": rows}, markdown_table(rows))


if __name__ == "__main__":
    main()
