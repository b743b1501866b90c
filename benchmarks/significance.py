"""How often intervals cover the mean, and how often equal methods are told apart, in simulated comparisons.

Three checks:

- `coverage`: of 95 % intervals of a mean, for 2 to 50 values of several distributions: the one that redwood prints,
  and, where it has a choice, Student's and two bootstraps of scipy.
- `equal`: 2 to 8 equally good methods, whose scores on a seed depend on each other: how often any two of them are
  told apart (family-wise), with Holm's correction and without.
- `orders`: the same over class orders, of which each has an effect of its own on each method, with several seeds each;
  and the power against a real difference.

Run: python benchmarks/significance.py [--times 4000]. Writes benchmarks/results/significance.{json,md}.
"""

import argparse
import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from common import environment, markdown_table, write
from numpy.typing import NDArray
from scipy import stats

from redwood.engine.significance import BOOTSTRAP_FROM, LEVEL, holm, least_p, mean_interval, paired_p, units_needed

Scores = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Scores]

# Distributions of a score over seeds, less their mean. The last two are harsher than scores are: no part of the bar.
DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(0, 1, shape),
    "below a ceiling, beta(8, 2)": lambda rng, shape: rng.beta(8, 2, shape) - 0.8,
    "skewed, gamma(4)": lambda rng, shape: rng.gamma(4, 1, shape) - 4,
    "heavy tails, t(5)": lambda rng, shape: rng.standard_t(5, shape),
    "flat, uniform": lambda rng, shape: rng.uniform(-1, 1, shape),
    "exponential": lambda rng, shape: rng.exponential(1, shape) - 1,
}
OF_THE_BAR = tuple(DISTRIBUTIONS)[:4]
SIZES = (2, 3, 5, 8, 10, 15, 20, 30, 50)
SEEDS = (5, 6, 8, 11)
METHODS = (2, 3, 5, 8)


def share(hits: int, times: int) -> str:
    """A share in percent with the standard error of the simulation."""
    part = hits / times
    return f"{100 * part:.1f} ± {100 * math.sqrt(part * (1 - part) / times):.1f}"


def coverage(times: int) -> dict[str, Any]:
    """How many of the intervals hold the true mean, 0."""
    rows = []
    for name, draw in DISTRIBUTIONS.items():
        for n in SIZES:
            samples = draw(np.random.default_rng(n), (times, n))
            used = sum(low <= 0 <= high for low, high in map(_ends, samples))
            row = {"scores": name, "n": n, "redwood": share(used, times), "covered": used / times}
            error = samples.std(axis=1, ddof=1) / math.sqrt(n) * stats.t.ppf(1 - LEVEL / 2, n - 1)
            row["Student"] = share(int((np.abs(samples.mean(axis=1)) <= error).sum()), times)
            for kind in ("percentile", "BCa"):
                row[f"{kind} bootstrap"] = _of_scipy(samples[: times // 4], kind) if n >= 5 else ""
            rows.append(row)
            print(row, flush=True)
    inside = [row for row in rows if row["scores"] in OF_THE_BAR]
    return {"rows": rows, "least": min(r["covered"] for r in inside), "most": max(r["covered"] for r in inside)}


def _ends(sample: Scores) -> tuple[float, float]:
    interval = mean_interval(sample)
    assert interval is not None
    return interval


def _of_scipy(samples: Scores, kind: str) -> str:
    found = stats.bootstrap(
        (samples,), np.mean, axis=1, method=kind, n_resamples=999, batch=20, rng=np.random.default_rng(0)
    ).confidence_interval
    return share(int(((found.low <= 0) & (found.high >= 0)).sum()), len(samples))


def equal(times: int) -> dict[str, Any]:
    """How often any two of several equal methods are told apart."""
    rows = []
    for methods in METHODS:
        times = times if methods == METHODS[0] else min(times, 2000)
        for n in SEEDS:
            row: dict[str, Any] = {"methods": methods, "seeds": n, "seeds needed": units_needed(math.comb(methods, 2))}
            for name in OF_THE_BAR:
                rng = np.random.default_rng((methods, n))
                draw = DISTRIBUTIONS[name]
                scores = draw(rng, (times, 1, n)) + draw(rng, (times, methods, n))
                wrong, without = _told_apart(scores)
                row[name] = share(wrong, times)
                row.setdefault("shares", []).append(wrong / times)
                row.setdefault("uncorrected, normal", share(without, times))
            rows.append(row)
            print(row, flush=True)
    return {"rows": rows, "most": max(part for row in rows for part in row["shares"])}


def _told_apart(scores: Scores) -> tuple[int, int]:
    """In how many simulated comparisons (times, methods, units) two methods are told apart; without Holm, too."""
    first, second = np.array(list(combinations(range(scores.shape[1]), 2))).T
    wrong = without = 0
    for part in np.array_split(scores, math.ceil(len(scores) / 500)):
        for p_values in paired_p(part[:, first] - part[:, second]).tolist():
            wrong += min(holm(p_values)) <= LEVEL
            without += min(p_values) <= LEVEL
    return wrong, without


def orders(times: int) -> dict[str, Any]:
    """Two methods on class orders of which each favours one of them, with 5 seeds each; and methods that differ."""
    rows = []
    for n in (6, 10, 14):
        rng = np.random.default_rng(n)
        effect = rng.normal(0, 1, (times, n, 1))
        runs = effect + rng.normal(0, 1, (times, n, 5))
        over_orders = paired_p(runs.mean(axis=2))
        over_runs = paired_p(runs.reshape(times, -1)[: times // 4])
        better = paired_p(runs.mean(axis=2) + 1.0)
        rows.append(
            {
                "class orders": n,
                "told apart, by class orders": share(int((over_orders <= LEVEL).sum()), times),
                "told apart, if each run were a unit": share(int((over_runs <= LEVEL).sum()), times // 4),
                "found, difference 1": share(int((better <= LEVEL).sum()), times),
                "share": float((over_orders <= LEVEL).mean()),
            }
        )
        print(rows[-1], flush=True)
    return {"rows": rows, "most": max(row["share"] for row in rows)}


def _shown(rows: list[dict[str, Any]]) -> str:
    return markdown_table(
        [{key: v for key, v in row.items() if key not in ("covered", "shares", "share")} for row in rows]
    )


def report(found: dict[str, Any]) -> str:
    """The results as a page."""
    covered, same, by_order = found["coverage"], found["equal"], found["orders"]
    return "\n".join(
        [
            "# Intervals and tests",
            "",
            f"Shares in percent, ± their standard error, of {found['times']} simulated comparisons (scipy's "
            "bootstraps: a quarter of these; more than two methods: 2,000).",
            "",
            f"Intervals of 95 % cover {100 * covered['least']:.1f} to {100 * covered['most']:.1f} % on the four "
            "distributions of the bar (93 to 97 %); flat and exponential scores are harsher. Redwood prints Student's "
            f"interval below {BOOTSTRAP_FROM} values, and the studentized bootstrap's from there on.",
            "",
            _shown(covered["rows"]),
            "",
            "Equal methods are told apart, any two of them, in at most 5 % of comparisons by construction, since the "
            f"test is exact; the largest of {len(same['rows']) * len(OF_THE_BAR)} simulated shares is "
            f"{100 * same['most']:.1f} %. With "
            f"fewer seeds than needed, nothing can be told apart: 5 seeds have no p-value below {least_p(5):.4f}.",
            "",
            _shown(same["rows"]),
            "",
            "Two methods, equally good over all class orders, of which each order favours one; 5 seeds per order:",
            "",
            _shown(by_order["rows"]),
        ]
    )


def main() -> None:
    """Run all checks and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=4000)
    times = parser.parse_args().times
    found = {"times": times, "orders": orders(times), "equal": equal(times), "coverage": coverage(times)}
    write("significance", found | environment(), report(found))


if __name__ == "__main__":
    main()
