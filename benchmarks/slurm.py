"""What becomes of a comparison on SLURM whose jobs are preempted, and how long 1,000 jobs take to submit.

Needs a cluster, if only of this machine: `sbatch` and `scontrol` in the path, and a partition whose jobs preempt those
of the default partition (`PreemptType=preempt/partition_prio`, `PreemptMode=REQUEUE`). Half of the preemptions are
SIGUSR1 to a random job, as before a time limit; the other half are jobs of the urgent partition, for which SLURM ends
others by SIGTERM and puts them back into the queue.

Run: python benchmarks/slurm.py [--seeds N] [--preemptions N] [--urgent PARTITION].
Writes benchmarks/results/slurm.{json,md}.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from common import environment, markdown_table, write

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.cli.kill_runs import differences_of_several

from redwood.experiments.jobs import Job
from redwood.experiments.launchers.slurm import Slurm
from redwood.experiments.pairs import Pair

METHODS = ("finetune", "rehearsal")
ARGUMENTS = ["--setting", "class_incremental", "--nb_tasks", "2", "--passes", "2", "--accelerator", "cpu", "--quiet"]
LOG = "files: log.txt"  # that a run of a job has, and one in this process has not
CLI = [sys.executable, str(Path(__file__).resolve().parents[1] / "cli.py")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="runs per method")
    parser.add_argument("--preemptions", type=int, default=20)
    parser.add_argument("--urgent", default="urgent", help="partition whose jobs preempt others")
    parser.add_argument("--folder", help="where to work, on a file system that all machines see")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        seconds = submission(Path(name) / "submission")
        found = preempted(Path(name), options)
    runs = options.seeds * len(METHODS)
    rows = [
        {"check": "submission of 1,000 jobs, s", "found": round(seconds, 2), "bar": "< 2"},
        {"check": "runs with results", "found": found["runs"], "bar": runs},
        {"check": "jobs preempted", "found": found["preempted"], "bar": options.preemptions},
        {"check": "times that a job was put back", "found": found["requeued"], "bar": f">= {options.preemptions}"},
        {"check": "differences from one machine's", "found": len(found["differs"]), "bar": 0},
        {"check": "exit status", "found": found["status"], "bar": 0},
    ]
    text = markdown_table(rows)
    print(text)
    command = " ".join(ARGUMENTS)
    write("slurm", {**environment(command=command), "submission_s": seconds, **found}, text)


def submission(folder: Path) -> float:
    """Seconds until SLURM has 1,000 jobs, which are cancelled then."""
    jobs = [Job(Pair("class_incremental", "finetune"), tuple(ARGUMENTS), n, folder / str(n)) for n in range(1000)]
    with Slurm(folder / "slurm", {"begin": "now+1hour"}) as launcher:
        started = time.perf_counter()
        launcher.submit(jobs)
        return time.perf_counter() - started


def preempted(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Run a comparison on SLURM, preempt jobs all over it, and compare it with that of one machine."""
    arguments = [*ARGUMENTS, "--method", ",".join(METHODS), "--seeds", str(options.seeds), "--checkpoint_every", "5"]
    runs, shared, random = options.seeds * len(METHODS), folder / "shared", Random(0)
    started = time.monotonic()
    process = subprocess.Popen([*CLI, *arguments, "--run_dir", str(shared), "--launcher", "slurm"])
    done = 0
    while done < options.preemptions and process.poll() is None:
        running = training(shared, options.seeds)
        due = len(list(shared.glob("*/results.json"))) >= done * runs // (options.preemptions + 2)
        if not running or not due:
            time.sleep(0.2)
            continue
        time.sleep(random.uniform(0.0, 3.0))
        if done % 2:
            subprocess.run(["sbatch", "--wait", "-p", options.urgent, "-o", "/dev/null", "--wrap", "true"], check=True)
            done += 1
        else:
            # Not waited for: scancel repeats itself while the job is on its way back to the queue. Some may have ended.
            subprocess.Popen(["scancel", "--signal=USR1", random.choice(running)], stderr=subprocess.DEVNULL)
            done += 1
    status, seconds = process.wait(), time.monotonic() - started
    alone = [*CLI, *arguments, "--run_dir", str(folder / "alone"), "--jobs", "1"]
    subprocess.run(alone, check=True)
    return {
        "seconds": seconds,
        "runs": len(list(shared.glob("*/results.json"))),
        "preempted": done,
        "requeued": sum(path.read_text().count("Loading pickle") - 1 for path in shared.glob("slurm/*_log.out")),
        "differs": [one for one in differences_of_several(shared, folder / "alone") if not one.endswith(LOG)],
        "status": status,
    }


def training(shared: Path, seeds: int) -> list[str]:
    """The jobs of SLURM that have started their run: the n-th of the array does the n-th run of the comparison."""
    found = []
    for path in shared.glob("*/.lock"):
        _, method, seed = path.parent.name.split("-")
        task = METHODS.index(method) * seeds + int(seed.removeprefix("seed"))
        found += [
            submitted.name.removesuffix("_submitted.pkl") for submitted in shared.glob(f"slurm/*_{task}_submitted.pkl")
        ]
    return found


if __name__ == "__main__":
    main()
