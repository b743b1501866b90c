"""A comparison on a cluster of Ray that loses machines: the results are those of one machine, and none is there twice.

Three raylets on this machine, with two cores each. While 60 short runs go on, one of them is killed without notice, or
one is added, at random moments. The same comparison in a pool is what results are compared with.

Run: OMP_NUM_THREADS=1 python benchmarks/ray_nodes.py [--changes 20] [--seeds 20]. Writes
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


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        started = time.monotonic()
        subprocess.run(command(folder / "pool", options.seeds, "--jobs", "2"), check=True, stdout=subprocess.DEVNULL)
        pool_s = time.monotonic() - started
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        try:
            started = time.monotonic()
            onto = ["--launcher", "ray", "--ray", f"address={cluster.address}"]
            driver = subprocess.Popen(command(folder / "ray", options.seeds, *onto), stdout=subprocess.PIPE, text=True)
            done = []
            for change in changes(cluster, options.changes, random.Random(0)):
                done.append(change)
                if driver.poll() is not None:
                    break
            printed = driver.communicate(timeout=1800)[0]
            ray_s = time.monotonic() - started
        finally:
            cluster.shutdown()
        expected, found = results_in(folder / "pool"), results_in(folder / "ray")
    ended = [line.partition("] ")[2].partition(":")[0] for line in printed.splitlines() if line.startswith("[")]
    rows = [
        {
            "runs": len(expected),
            "changes of machines": len(done),
            "of these removals": done.count("removed"),
            "equal results": sum(found.get(name) == value for name, value in expected.items()),
            "told twice": len(ended) - len(set(ended)),
            "pool s": pool_s,
            "ray s": ray_s,
        }
    ]
    write("ray_nodes", environment() | {"rows": rows, "exit code": driver.returncode}, markdown_table(rows))


if __name__ == "__main__":
    main()
