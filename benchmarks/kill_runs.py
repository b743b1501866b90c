"""What becomes of runs that are killed by SIGKILL at random moments, and then resumed.

Eight pairs, two of them with two workers; the main process, a worker and the whole group are killed in turn. Runs are
copies of this process, which has imported the large libraries. `--start spawn` has workers started as users have it;
`fork` saves each of them ten seconds of imports.

Run: python benchmarks/kill_runs.py [--moments N] [--start fork|spawn]. Writes benchmarks/results/kill_runs.{json,md}.
As root, `unshare -m sh -c 'mount -t tmpfs none /dev/shm && python benchmarks/kill_runs.py'` leaves other programs'
semaphores out.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Before the first run is copied from this process.
import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401
import pytorch_lightning  # noqa: F401
import stable_baselines3  # noqa: F401
import torch
import torchmetrics  # noqa: F401
from common import RESULTS, environment, markdown_table, write
from sklearn.datasets import load_digits  # noqa: F401

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.cli.kill_runs import Killed, Place, begun, kill_and_resume, stat

SHORT = ["--quiet", "--accelerator", "cpu", "--nb_tasks", "2", "--checkpoint_every", "5"]
RL = ["--env", "CartPole-v1", "--steps_per_task", "1024", "--test_episodes", "2", "--n_steps", "128"]
PAIRS = {
    "finetune": ["--setting", "class_incremental", "--method", "finetune", "--passes", "4"],
    "rehearsal": ["--setting", "class_incremental", "--method", "rehearsal", "--passes", "3"],
    "ewc": ["--setting", "task_incremental", "--method", "ewc", "--passes", "3"],
    "icarl": ["--setting", "class_incremental", "--method", "icarl", "--passes", "2"],
    "online der": ["--setting", "online_class_incremental", "--method", "der"],
    "ppo": ["--setting", "incremental_rl", "--method", "ppo", *RL],
    "async rehearsal, 2 workers": ["--setting", "distributed_class_incremental", "--method", "async_rehearsal"],
    "ewc, 2 workers": ["--setting", "domain_incremental", "--method", "ewc", "--workers", "2"],
}
WHO = ("main", "worker", "group")
FIRST_SEED = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=60, help="how many runs are killed")
    parser.add_argument("--go_on", action="store_true", help="after the moments that the results hold already")
    parser.add_argument("--start", choices=("fork", "spawn"), default="fork", help="how workers are started")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = json.loads((RESULTS / "kill_runs.json").read_text())["moments"] if options.go_on else []
    rows = [row for row in rows if row["killed"] != "nobody"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wholes = {
            pair: whole(folder / f"whole-{number}", arguments) for number, (pair, arguments) in enumerate(PAIRS.items())
        }
        for number in range(len(rows), options.moments):
            pair = list(PAIRS)[number % len(PAIRS)]
            turn = number % len(PAIRS) + number // len(PAIRS)
            who = WHO[turn % len(WHO)] if "workers" in pair else WHO[turn % 2 * 2]
            place = folder / str(number)
            run, seconds = wholes[pair]
            killed = kill_and_resume(
                place, [*PAIRS[pair], *SHORT], run, seconds, FIRST_SEED + number, who, options.start
            )
            rows.append(row_of(pair, killed))
            print(number, rows[-1], *([killed.log] if killed.left or killed.differs else []), flush=True)
            report(rows, options)
            shutil.rmtree(place)


def whole(folder: Path, arguments: list[str]) -> tuple[Path, float]:
    """The run that nobody kills, and how long it took from its first file on."""
    place = Place(folder, "fork")
    leader = place.start(*arguments, *SHORT, "--run_dir", str(place.run))
    started = 0.0
    while (stat(leader) or "Z")[0] not in "ZX":
        if not started and begun(place.run):
            started = time.monotonic()
        time.sleep(0.01)
    seconds = time.monotonic() - started
    assert list(place.run.rglob("results.json")), place.log.read_text()
    assert not place.left(), place.left()
    print(folder.name, arguments, f"{seconds:.1f} s", flush=True)
    return place.run, seconds


def row_of(pair: str, killed: Killed) -> dict[str, Any]:
    """What became of one run."""
    return {
        "pair": pair,
        "killed": killed.who,
        "at": killed.where,
        "all ended after (s)": round(killed.seconds, 2),
        "left behind": "; ".join(killed.left) or "nothing",
        "differs from the whole run in": "; ".join(killed.differs) or "nothing",
    }


def report(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Write what is known so far."""
    equal = sum(row["differs from the whole run in"] == "nothing" for row in rows)
    clean = sum(row["left behind"] == "nothing" for row in rows)
    verdicts = [
        f"{equal} of {len(rows)} runs that were killed and gone on with end in the results, the state and the files of "
        "the run that nobody killed.",
        f"{clean} of {len(rows)} leave no file, folder, semaphore or process behind; the last process ended "
        f"{max(row['all ended after (s)'] for row in rows):.1f} s after the kill at most.",
    ]
    text = [
        "Random moments of short runs with a checkpoint every 5 steps; " + f"workers are started by `{options.start}`.",
        "\n".join(f"- {verdict}" for verdict in verdicts),
        markdown_table(rows),
    ]
    write("kill_runs", {**environment(), **vars(options), "moments": rows, "verdicts": verdicts}, "\n\n".join(text))


if __name__ == "__main__":
    main()
