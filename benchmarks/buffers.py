"""Rehearsal buffers: rows against plain copying, policies and samplers against Avalanche's and torchrl's.

Run: python benchmarks/buffers.py [--device cuda]. Writes benchmarks/results/buffers.*, or buffers_cuda.* on a GPU,
where only reading and writing rows is measured.
"""

import argparse
import platform
from collections.abc import Sequence
from typing import Any

import buffer_peers
import buffer_policies
import buffer_storage
import torch
from buffer_storage import COPIES, LARGE_ROW
from common import environment, markdown_table, write

Rows = list[dict[str, Any]]
# Bars: least share of plain copying, of rows of at least LARGE_ROW bytes and of smaller ones; on a GPU of the former.
SHARES = {"read": (0.80, 0.35), "write": (0.45, 0.20)}
CUDA_SHARE = 0.60
# Bars: batches per CPU second through the reservoir, and how many times Avalanche's that has to be.
INSERTS, TIMES_AVALANCHE = 25_000, 40
SLOWER = 1.05  # bar: how much dearer a late update may be


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.device == "cuda":
        measure_gpu(options.rounds)
    else:
        measure(options.rounds)


def measure(rounds: int) -> None:
    """All but the GPU."""
    tiers = {tier: buffer_storage.compare(tier, rounds) for tier in ("host", "mmap")}
    stream = buffer_policies.Stream()
    inserts = buffer_policies.compare_inserts(stream, rounds)
    peer = buffer_policies.peer_updates(stream)
    long = buffer_policies.compare_long_streams(stream, rounds, peer)
    draws = buffer_policies.compare_draws(stream, rounds)
    ages = buffer_policies.compare_ages(stream, rounds, peer)
    verdicts = [
        *storage_verdicts(tiers["host"]),
        *insert_verdicts(inserts, long),
        *age_verdicts(ages),
        gpu_verdict(),
    ]
    text = [
        f"One thread; medians of {rounds} rounds in which the variants take turns; CPU time if nothing else is said.",
        missing_peers(),
        "## Verdicts",
        "\n".join(f"- {verdict}" for verdict in verdicts),
        *storage_text(tiers["host"], "Rows in host memory, as a share of plain copying"),
        *storage_text(tiers["mmap"], "Rows in a memory-mapped file, as a share of plain copying in memory"),
        "## Update with 32 samples 1x28x28 float32, capacity 500: the first 300 updates",
        markdown_table(inserts),
        "The same over a stream of 5000 updates, ever fewer of which write:",
        markdown_table(long),
        "## Draw of 32 of 500 samples 1x28x28 float32, with copying",
        markdown_table(draws),
        "## Cost of an update by the number of updates before",
        markdown_table(ages),
    ]
    content = {
        **environment(**_peer_versions()),
        "rounds": rounds,
        "rows": {
            "storage": [*tiers["host"], *tiers["mmap"]],
            "inserts": inserts,
            "long": long,
            "draws": draws,
            "ages": ages,
        },
        "verdicts": verdicts,
    }
    write("buffers", content, "\n\n".join(part for part in text if part))


def measure_gpu(rounds: int) -> None:
    """Rows on a GPU."""
    if not torch.cuda.is_available():
        raise SystemExit("--device cuda needs a CUDA device, and there is none.")
    waiting = buffer_storage.check_no_waiting()
    rows = buffer_storage.compare("cuda", rounds)
    large = [row for row in rows if row["row"].startswith("3x224x224")]
    verdicts = [waiting, *(bar_verdict(large, name, CUDA_SHARE, "rows 3x224x224") for name in SHARES)]
    text = [
        f"Medians of {rounds} rounds in which the variants take turns; synchronised time on the clock on the wall.",
        "\n".join(f"- {verdict}" for verdict in verdicts),
        *storage_text(rows, "Rows on the GPU, as a share of copying on it"),
    ]
    machine = f"{platform.machine()}, {torch.cuda.get_device_name()}"
    content = {**environment(**_peer_versions()), "machine": machine, "rounds": rounds, "rows": rows}
    write("buffers_cuda", {**content, "verdicts": verdicts}, "\n\n".join(text))


def _peer_versions() -> dict[str, str]:
    return {
        "avalanche": buffer_peers.avalanche_version() or "not installed",
        "torchrl": buffer_peers.torchrl_version() or "not installed",
    }


def missing_peers() -> str:
    """What could not be measured."""
    missing = [name for name, version in _peer_versions().items() if version == "not installed"]
    return f"Not importable here, so not measured: {', '.join(missing)}." if missing else ""


def storage_text(rows: Rows, title: str) -> list[str]:
    """Two tables: reading and writing."""
    names = [name for name, value in rows[0].items() if isinstance(value, dict)]
    writes = [name for name in names if name.endswith((" set", "write")) and name not in COPIES.values()]
    reads = [name for name in names if name not in (*writes, *COPIES.values())]
    return [
        f"## {title}",
        markdown_table([_shares(row, COPIES["read"], reads) for row in rows]),
        markdown_table([_shares(row, COPIES["write"], writes) for row in rows]),
    ]


def _shares(row: dict[str, Any], copy: str, names: Sequence[str]) -> dict[str, Any]:
    shown = {"row": row["row"], "batch": row["batch"], f"{copy} (GB/s)": row[copy]["GB/s"]}
    return shown | {name: f"{row[name]['share']:.2f}" for name in names}


def storage_verdicts(rows: Rows) -> list[str]:
    """Each bar of reading and writing, and reading into new memory, which plain copying is slow at, too."""
    verdicts = []
    for name, of in (("read, out=", "read"), ("read", "read"), ("write", "write")):
        for large, bar in zip((True, False), SHARES[of], strict=True):
            size = f"rows {'>=' if large else '<'} {LARGE_ROW // 1000} kB"
            verdicts.append(bar_verdict([r for r in rows if (r["row bytes"] >= LARGE_ROW) == large], name, bar, size))
    return verdicts


def bar_verdict(rows: Rows, name: str, bar: float, which: str) -> str:
    """Whether all of the rows reach a share of plain copying, or which do not."""
    below = [f"{row['row']} at {row['batch']}: {row[name]['share']:.2f}" for row in rows if row[name]["share"] < bar]
    shares = [row[name]["share"] for row in rows]
    outcome = f"missed by {len(below)} of {len(rows)} ({'; '.join(below)})" if below else "reached"
    return f"`{name}`, {which}: {min(shares):.2f} to {max(shares):.2f} of plain copying; bar {bar} {outcome}."


def insert_verdicts(inserts: Rows, long: Rows) -> list[str]:
    """The bars of the reservoir: in the first updates, most of which write rows, and over a long stream."""
    verdicts = []
    for rows, n in ((inserts, buffer_policies.UPDATES), (long, buffer_policies.LATE)):
        by_name = {row["variant"]: row for row in rows}
        rate = by_name["redwood reservoir"]["batches/CPU s"]
        which = f"Reservoir, the first {n} updates"
        verdicts.append(f"{which}: {rate:.0f} per CPU second; bar {INSERTS} {_outcome(rate >= INSERTS)}.")
        peer = by_name.get(buffer_policies.PEER)
        if peer is not None:
            times = peer["redwood reservoir is faster by (CPU)"]
            outcome = _outcome(times >= TIMES_AVALANCHE)
            verdicts.append(f"{which}: {times:.0f} times Avalanche's rate; bar {TIMES_AVALANCHE} times {outcome}.")
    return verdicts


def age_verdicts(rows: Rows) -> list[str]:
    """Whether updates get no dearer."""
    dearer = [
        f"{row['variant']}: {row['ratio (CPU)']:.2f}"
        for row in rows
        if row["variant"].startswith("redwood") and row["ratio (CPU)"] > SLOWER
    ]
    outcome = f"missed by {'; '.join(dearer)}" if dearer else "reached by all policies"
    early, late = buffer_policies.EARLY, buffer_policies.LATE
    return [f"An update after {late} costs at most {SLOWER} times what it does after {early}: {outcome}."]


def gpu_verdict() -> str:
    """Why there are no figures of a GPU here."""
    if torch.cuda.is_available():
        return "Rows on the GPU: see `--device cuda`."
    return f"Rows on a GPU (bar {CUDA_SHARE} of copying on it at 3x224x224, and no waiting): not run: no CUDA device."


def _outcome(reached: bool) -> str:
    return "reached" if reached else "missed"


if __name__ == "__main__":
    main()
