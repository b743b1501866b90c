"""Comparisons and sweeps on a cluster of Ray that loses machines: the results are those of one machine, none is twice.

Raylets on this machine. While 60 short runs or 24 trials go on, one of them is killed without notice, or one is added,
at random moments; or the driver is killed, and `resume` goes on. A pool on as many cores is what results are compared
with. With `--s3`, the runs of one comparison are kept in a bucket of a local server (pip install 'moto[server]' s3fs).

Run: OMP_NUM_THREADS=1 python benchmarks/ray_nodes.py [--changes 20] [--kills 5] [--seeds 20] [--trials 24] [--s3].
Writes benchmarks/results/ray_nodes.{json,md}; it takes about 15 minutes on two cores. With `--overhead` it compares the
time of a pool and of Ray for 300 runs of about 2 s instead, and writes ray_overhead.{json,md}, in 10 minutes.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from common import environment, markdown_table, write
from ray.cluster_utils import Cluster

HERE = Path(__file__).resolve().parents[1]
METHODS = "finetune,rehearsal,ewc"
# What times, machines and processes decide in `results.json`; all else has to be equal.
_OF_THE_PROCESS = {"cost", "versions", "reproduction"}


def redwood(*words: str) -> list[str]:
    """A command of redwood."""
    return [sys.executable, "-W", "ignore", str(HERE / "cli.py"), *words]


def comparison(seeds: int, passes: int = 1) -> list[str]:
    """The words of a comparison of three methods."""
    return ["--setting", "class_incremental", "--method", METHODS, "--passes", str(passes), "--seeds", str(seeds)]


def sweep(trials: int) -> list[str]:
    """The words of a sweep of two options."""
    tried = ["sweep", "lr=log:1e-3..1", "buffer_size=10..500", "--validation", "0.2", "--trials", str(trials)]
    tried += ["--jobs", "2"]  # how many are chosen at a time follows from it
    return [*tried, "--setting", "class_incremental", "--method", "rehearsal", "--passes", "2"]


def results_in(folder: Path) -> dict[str, object]:
    """What each run or trial has found, by its folder or number."""
    if (folder / "sweep.json").exists():
        trials = json.loads((folder / "sweep.json").read_text())["trials"]
        return {str(n): [one["parameters"], one["values"], one["state"]] for n, one in enumerate(trials)}
    found = {}
    for path in sorted(folder.glob("*/results.json")):
        content = json.loads(path.read_text())
        found[path.parent.name] = {name: value for name, value in content.items() if name not in _OF_THE_PROCESS}
    return found


def changes(cluster: Cluster, number: int, rng: random.Random) -> Iterator[str]:
    """Remove or add a machine at random moments; the first one, which the driver is connected to, stays."""
    others = [cluster.add_node(num_cpus=1) for _ in range(2)]
    for _ in range(number):
        time.sleep(rng.uniform(1.0, 6.0))
        if others and (len(others) > 2 or rng.random() < 0.5):
            cluster.remove_node(others.pop(rng.randrange(len(others))), allow_graceful=False)
            yield "removed"
        else:
            others.append(cluster.add_node(num_cpus=1))
            yield "added"


def on_cluster(folder: Path, words: list[str], cores: int, number: int, *kept: str) -> tuple[list[str], str, float]:
    """The work on a cluster, whose machines change: the changes, what was printed, and its seconds."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cores})
    try:
        started = time.monotonic()
        onto = ["--launcher", "ray", "--ray", f"address={cluster.address}", *kept, "--run_dir", str(folder)]
        driver = subprocess.Popen(redwood(*words, *onto), stdout=subprocess.PIPE, text=True)
        done = []
        for change in changes(cluster, number, random.Random(0)) if number else ():
            done.append(change)
            if driver.poll() is not None:
                break
        printed = driver.communicate(timeout=1800)[0]
        return done, printed, time.monotonic() - started
    finally:
        cluster.shutdown()


def with_killed_driver(folder: Path, words: list[str], kills: int) -> tuple[list[str], str, float]:
    """The work, whose driver is killed at random moments and started again by `resume`."""
    cluster, rng, printed = Cluster(initialize_head=True, head_node_args={"num_cpus": 2}), random.Random(1), ""
    started = time.monotonic()
    onto = ["--launcher", "ray", "--ray", f"address={cluster.address}"]
    first, again = redwood(*words, *onto, "--run_dir", str(folder)), redwood("resume", str(folder), *onto)
    try:
        for number in range(kills + 1):
            begun = any((folder / name).exists() for name in ("comparison.yaml", "sweep.yaml"))
            driver = subprocess.Popen(again if begun else first, stdout=subprocess.PIPE, text=True)
            try:
                printed += driver.communicate(timeout=rng.uniform(8.0, 16.0) if number < kills else 1800)[0]
            except subprocess.TimeoutExpired:
                driver.kill()
                printed += driver.communicate()[0]
        return ["killed"] * kills, printed, time.monotonic() - started
    finally:
        cluster.shutdown()


@contextmanager
def local_s3() -> Iterator[str]:
    """A server of S3 on this machine, and the URL of a bucket there."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:5555"
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", "5555"], stderr=subprocess.DEVNULL)
    try:
        import s3fs

        for _ in range(100):
            time.sleep(0.2)
            with suppress(Exception):  # until it answers
                s3fs.S3FileSystem().makedirs("redwood")
                break
        yield "s3://redwood/runs"
    finally:
        server.kill()


def ended(printed: str) -> list[str]:
    """The runs that were told to have ended."""
    lines = [line for line in printed.splitlines() if line.startswith("[")]
    return [line.partition("] ")[2].partition(":")[0] for line in lines]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--overhead", action="store_true")
    options = parser.parse_args()
    runs = comparison(100, passes=40) if options.overhead else comparison(options.seeds)
    trials = sweep(options.trials)
    cases: dict[str, tuple[list[str], Callable[[Path], tuple[list[str], str, float]]]] = {
        "Ray": (runs, lambda to: on_cluster(to, runs, 2, 0)),
        "Ray, machines change": (runs, lambda to: on_cluster(to, runs, 1, options.changes)),
        "Ray, driver is killed": (runs, lambda to: with_killed_driver(to, runs, options.kills)),
        "sweep on Ray, machines change": (trials, lambda to: on_cluster(to, trials, 1, options.changes)),
        "sweep on Ray, driver is killed": (trials, lambda to: with_killed_driver(to, trials, 2)),
    }
    pools = {"pool": runs, "sweep in a pool": trials}
    if options.overhead:
        cases, pools = {"Ray": cases["Ray"]}, {"pool": runs}
    with tempfile.TemporaryDirectory() as temporary, local_s3() if options.s3 else nullcontext("") as url:
        if url:
            kept = f"storage={url}"
            cases["Ray, kept in S3, machines change"] = runs, lambda to: on_cluster(to, runs, 1, options.changes, kept)
        folder, rows, expected = Path(temporary), list[dict[str, object]](), dict[str, dict[str, object]]()
        for name, words in pools.items():
            started, to = time.monotonic(), folder / name.replace(" ", "_")
            command = redwood(*words, *(["--jobs", "2"] if words is runs else []), "--run_dir", str(to))
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            expected[words[0]] = results_in(to)
            rows.append({"variant": name, "s": time.monotonic() - started, "runs": len(expected[words[0]])})
        for name, (words, run) in cases.items():
            to = folder / name.replace(" ", "_").replace(",", "")
            done, printed, seconds = run(to)
            found, told = results_in(to), ended(printed)
            rows.append(
                {
                    "variant": name,
                    "s": seconds,
                    "runs": len(found),
                    "equal results": sum(found.get(one) == value for one, value in expected[words[0]].items()),
                    "told twice": len(told) - len(set(told)),
                    **{change: done.count(change) for change in ("removed", "added", "killed")},
                }
            )
    columns = list(dict.fromkeys(name for row in rows for name in row))
    rows = [{name: row.get(name, "") for name in columns} for row in rows]
    write("ray_overhead" if options.overhead else "ray_nodes", environment() | {"rows": rows}, markdown_table(rows))


if __name__ == "__main__":
    main()
