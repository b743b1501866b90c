"""What becomes of a comparison that three machines share, which are killed and frozen at random moments.

Three processes pose as machines: each has a host name of its own, a new one after each start. 20 times one of them is
killed by SIGKILL with all that it has started, and joins again. One is frozen by SIGSTOP while it has a run, until
another machine has taken the run over and completed it, and then woken. The lease takes 6 s here instead of 60.

Run: python benchmarks/joined_machines.py [--seeds N] [--kills N]. Writes benchmarks/results/joined_machines.{json,md}.
"""

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

# Before the first machine is copied from this process.
import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401
import pytorch_lightning  # noqa: F401
import torch
import torchmetrics  # noqa: F401
from common import environment, markdown_table, write
from sklearn.datasets import load_digits  # noqa: F401

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.cli.joined_machines import LEASE_S, join

METHODS = ("finetune", "ewc", "rehearsal")
ARGUMENTS = ["--setting", "class_incremental", "--nb_tasks", "2", "--passes", "2", "--accelerator", "cpu", "--quiet"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="runs per method")
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    arguments = [*ARGUMENTS, "--method", ",".join(METHODS), "--seeds", str(options.seeds)]
    arguments += ["--jobs", "1", "--checkpoint_every", "5"]
    runs = options.seeds * len(METHODS)
    with tempfile.TemporaryDirectory() as name:
        found = join(Path(name) / "joined", arguments, runs, options.kills)
    rows = [
        {"check": "runs with results", "found": found.runs, "bar": runs},
        {"check": "machines killed by SIGKILL", "found": found.kills, "bar": options.kills},
        {"check": "one frozen beyond its lease, s", "found": round(found.frozen_s, 1), "bar": f"> {LEASE_S:.0f}"},
        {"check": "it changed the results after it woke", "found": found.wrote_late, "bar": False},
        {"check": "files that differ from one machine's", "found": len(found.differs), "bar": 0},
        {"check": "different tables printed", "found": found.tables, "bar": 1},
        {"check": "exit statuses", "found": str(found.statuses), "bar": "[0, 0, 0]"},
    ]
    text = markdown_table(rows)
    print(text)
    write("joined_machines", {**environment(command=" ".join(arguments)), **asdict(found)}, text)


if __name__ == "__main__":
    main()
