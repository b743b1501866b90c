"""The cost of a run: time, memory, floating-point operations, and the cost of choosing its options."""

from dataclasses import dataclass
from typing import NamedTuple

from redwood.core.schema import Json

# The uses of a method's computation. A search trains candidates that it may discard.
USES = ("training", "validation", "selection", "search")


class TuningCost(NamedTuple):
    """The cost of choosing the options of a run.

    Attributes:
        trials: Runs that tried options, including those that failed or ended early.
        flops: Their FLOPs for all uses.
        seconds: Their seconds, one after the other.
    """

    trials: int
    flops: float
    seconds: float


@dataclass
class Cost:
    """The cost of a run.

    Attributes:
        wall_time_s: Seconds of the run, with its checkpoints and logs, once its data and its method are ready. Start-up
            is left out, as the first run of a process pays for all.
        training_time_s: Seconds of training, of the first worker. Learning curves and validation inside a phase are
            part of it. None in files that were written without it.
        evaluation_time_s: Seconds of the scores between phases, of the first worker: on test and on held-out samples.
            None in files that were written without it.
        training_samples: Samples of the stream that were trained on, once for each pass; replayed samples are not
            counted. Reinforcement: environment steps.
        samples_per_s: Training samples per second of training.
        training_flops: Floating-point operations of all training steps, those of a search included.
        parameters: Number of parameters of the network.
        peak_memory_bytes: Largest memory in use.
        buffer_bytes: Memory of data kept beside the network: samples, importances, earlier networks.
        rehearsal: Costs of asynchronous rehearsal: milliseconds and bytes per step, samples `replayed` per step,
            samples `stored` by each worker and class, and a `timeline` of the last steps (name, start and end in
            milliseconds). None without it.
        flops: FLOPs (P,) in each phase, for each of `USES`, of all workers. None in files that were written without
            it. Tests are the protocol's and not counted.
        tuning: The fields of `TuningCost`, if a sweep has chosen the options before the run; it is no part of the rest.
    """

    wall_time_s: float = 0.0
    training_time_s: float | None = None
    evaluation_time_s: float | None = None
    training_samples: int = 0
    samples_per_s: float = 0.0
    training_flops: float = 0.0
    parameters: int = 0
    peak_memory_bytes: int = 0
    buffer_bytes: int = 0
    rehearsal: Json | None = None
    flops: dict[str, list[float]] | None = None
    tuning: dict[str, float] | None = None

    @property
    def flops_by_use(self) -> dict[str, float]:
        """FLOPs of the run for each of `USES`; without `flops`, all are training's."""
        if self.flops is None:
            return dict.fromkeys(USES, 0.0) | {"training": self.training_flops}
        return {use: sum(self.flops.get(use, ())) for use in USES}

    @property
    def total_flops(self) -> float:
        """FLOPs of the run for all uses."""
        return sum(self.flops_by_use.values())

    @property
    def flops_with_tuning(self) -> float:
        """FLOPs of the run, and of all trials that its options were chosen by, as NEVIS counts compute."""
        return self.total_flops + (0.0 if self.tuning is None else self.tuning["flops"])
