"""A comparison on a cluster of Ray that loses machines: the results are those of one machine, and none is there twice.

Raylets on this machine. While 60 short runs go on, one of them is killed without notice, or one is added, at random
moments; or the driver is killed, and `resume` goes on. A pool on as many cores is what results are compared with.

Run: OMP_NUM_THREADS=1 python benchmarks/ray_nodes.py [--changes 20] [--kills 5] [--seeds 20]. Writes
benchmarks/results/ray_nodes.{json,md}; it takes about 10 minutes on two cores.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from common import environment, markdown_table, write
from ray.cluster_utils import Cluster

HERE = Path(__file__).resolve().parents[1]
METHODS = "finetune,rehearsal,ewc"
# What times, machines and processes decide in `results.json`; all else has to be equal.
_OF_THE_PROCESS = {"cost", "versions", "reproduction"}


def command(folder: Path, seeds: int, *more: str) -> list[str]:
    """The comparison, into a folder."""
    pair = ["--setting", "class_incremental", "--method", METHODS, "--passes", "1", "--seeds", str(seeds)]
    return [sys.executable, "-W", "ignore", str(HERE / "cli.py"), *pair, "--run_dir", str(folder), *more]


def results_in(folder: Path) -> dict[str, object]:
    """What each run has found, by its folder."""
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


def on_cluster(folder: Path, seeds: int, cores: int, number: int) -> tuple[list[str], str, float]:
    """The comparison on a cluster, whose machines change: the changes, what was printed, and its seconds."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cores})
    try:
        started = time.monotonic()
        onto = ["--launcher", "ray", "--ray", f"address={cluster.address}"]
        driver = subprocess.Popen(command(folder, seeds, *onto), stdout=subprocess.PIPE, text=True)
        done = []
        for change in changes(cluster, number, random.Random(0)) if number else ():
            done.append(change)
            if driver.poll() is not None:
                break
        printed = driver.communicate(timeout=1800)[0]
        return done, printed, time.monotonic() - started
    finally:
        cluster.shutdown()


def with_killed_driver(folder: Path, seeds: int, kills: int) -> tuple[str, float]:
    """The comparison, whose driver is killed at random moments and started again by `resume`."""
    cluster, rng, printed = Cluster(initialize_head=True, head_node_args={"num_cpus": 2}), random.Random(1), ""
    started = time.monotonic()
    onto = ["--launcher", "ray", "--ray", f"address={cluster.address}"]
    again = [sys.executable, "-W", "ignore", str(HERE / "cli.py"), "resume", str(folder), *onto]
    try:
        for number in range(kills + 1):
            words = again if (folder / "comparison.yaml").exists() else command(folder, seeds, *onto)
            driver = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            try:
                printed += driver.communicate(timeout=rng.uniform(8.0, 16.0) if number < kills else 1800)[0]
            except subprocess.TimeoutExpired:
                driver.kill()
                printed += driver.communicate()[0]
        return printed, time.monotonic() - started
    finally:
        cluster.shutdown()


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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, rows = Path(temporary), list[dict[str, object]]()
        started = time.monotonic()
        subprocess.run(command(folder / "pool", options.seeds, "--jobs", "2"), check=True, stdout=subprocess.DEVNULL)
        expected = results_in(folder / "pool")
        rows.append({"variant": "pool", "s": time.monotonic() - started, "runs": len(expected)})
        cases = {
            "Ray": lambda to: on_cluster(to, options.seeds, 2, 0),
            "Ray, machines change": lambda to: on_cluster(to, options.seeds, 1, options.changes),
            "Ray, driver is killed": lambda to: ([], *with_killed_driver(to, options.seeds, options.kills)),
        }
        for name, run in cases.items():
            to = folder / name.replace(" ", "_").replace(",", "")
            done, printed, seconds = run(to)
            found, told = results_in(to), ended(printed)
            rows.append(
                {
                    "variant": name,
                    "s": seconds,
                    "runs": len(found),
                    "equal results": sum(found.get(one) == value for one, value in expected.items()),
                    "told twice": len(told) - len(set(told)),
                    "removed": done.count("removed"),
                    "added": done.count("added"),
                    "killed": options.kills if "killed" in name else 0,
                }
            )
    columns = list(dict.fromkeys(name for row in rows for name in row))
    rows = [{name: row.get(name, "") for name in columns} for row in rows]
    write("ray_nodes", environment() | {"rows": rows}, markdown_table(rows))


if __name__ == "__main__":
    main()
