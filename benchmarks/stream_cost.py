"""What the stream costs of a whole run, and what the run achieves: rehearsal on Fashion-MNIST in one pass.

All 60,000 images, class-incremental (5 tasks of 2 classes in an order drawn from the seed), a buffer of 500 samples.

Run: python benchmarks/stream_cost.py --data_dir DIR. Writes benchmarks/results/stream_cost.*.
"""

import argparse
import gc
from collections.abc import Iterator
from statistics import mean, stdev
from typing import Any

from clocked import RUN_OPTIONS, ClockedRehearsal, use_one_thread
from common import Seconds, environment, markdown_table, write

from redwood.settings.batch import Batch
from redwood.settings.phase import Phase
from redwood.settings.streams.loader import BatchLoader
from redwood.settings.tree import ClassIncrementalSetting

BUFFER = 500
# Bars: the largest share of the time of `fit`, and the least average accuracy.
SHARE, ACCURACY = 0.10, 0.78


class ClockedLoader(BatchLoader):
    """A loader that adds up the time until each batch is there."""

    spent = Seconds(0.0, 0.0)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        batches = super().__iter__()
        while True:
            start = Seconds.now()
            batch = next(batches, None)
            ClockedLoader.spent = ClockedLoader.spent.plus(Seconds.now().since(start))
            if batch is None:
                return
            yield batch


class StreamRehearsal(ClockedRehearsal):
    """Rehearsal that takes the time of its stream, too."""

    def fit(self, phase: Phase) -> None:
        """Put the clock into the loader: it changes no state, so the class may be exchanged."""
        phase.train.__class__ = ClockedLoader
        super().fit(phase)


def run(data_dir: str, seed: int, ratio: float) -> dict[str, Any]:
    """One run."""
    # The data of earlier runs hangs in reference cycles until it is collected.
    gc.collect()
    setting = ClassIncrementalSetting(dataset="fashion_mnist", data_dir=data_dir, seed=seed, passes=1)
    ClockedLoader.spent = Seconds(0.0, 0.0)
    method = StreamRehearsal(model="mlp", buffer_size=BUFFER, replay_ratio=ratio)
    method.start_clock()
    results = setting.apply(method, **RUN_OPTIONS)  # type: ignore[arg-type]
    return {
        "replay ratio": ratio,
        "seed": seed,
        "average accuracy": results.objective,
        "forgetting": results.metrics["forgetting"],
        "fit (s)": method.fit_time.wall,
        "fit (CPU s)": method.fit_time.cpu,
        "stream (s)": ClockedLoader.spent.wall,
        "stream / fit (wall)": ClockedLoader.spent.wall / method.fit_time.wall,
        "stream / fit (CPU)": ClockedLoader.spent.cpu / method.fit_time.cpu,
        "run, with evaluation (s)": results.cost.wall_time_s,
        "samples/s": results.cost.samples_per_s,
        "training FLOPs": results.cost.training_flops,
        "buffer (bytes)": results.cost.buffer_bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ratios", type=float, nargs="+", default=[1.0, 4.0], help="replayed samples per incoming one")
    options = parser.parse_args()
    use_one_thread()
    # Seeds take turns with the ratios, so that none has all the quiet moments.
    rows = [run(options.data_dir, seed, ratio) for seed in range(options.seeds) for ratio in options.ratios]
    rows.sort(key=lambda row: (row["replay ratio"], row["seed"]))
    verdicts = []
    for ratio in options.ratios:
        runs = [row for row in rows if row["replay ratio"] == ratio]
        accuracy = [row["average accuracy"] for row in runs]
        share = max(row["stream / fit (CPU)"] for row in runs)
        spread = f" +- {stdev(accuracy):.3f}" if len(accuracy) > 1 else ""
        verdicts.append(
            f"Replay ratio {ratio:g}: average accuracy {mean(accuracy):.3f}{spread} (bar {ACCURACY} "
            f"{'reached' if mean(accuracy) >= ACCURACY else 'missed'}); the stream takes at most {100 * share:.1f} % "
            f"(bar {100 * SHARE:.0f} % {'reached' if share < SHARE else 'missed'})."
        )
    table = markdown_table([{key: f"{v:.4g}" if isinstance(v, float) else v for key, v in r.items()} for r in rows])
    write("stream_cost", {**environment(), "rows": rows, "verdicts": verdicts}, "\n\n".join([table, *verdicts]))


if __name__ == "__main__":
    main()
