"""Start the workers of a data-parallel run, with Lightning's own launchers."""

import os
import pickle
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redwood.settings.base import Learner, Setting
from redwood.settings.errors import InvalidOptionError, RedwoodError, reason_of
from redwood.settings.registry import USER_FILE_PREFIX, load_file

if TYPE_CHECKING:
    from redwood.settings.results import Results
    from redwood.settings.run import Run


def run_in_workers(setting: Setting, method: Learner, run: "Run") -> "Results":
    """Run the protocol in as many processes as the setting has workers.

    One worker runs right here. Several are spawned, unless torchrun or SLURM has started them already.
    Afterwards `method` is in the state that the first worker reached.
    """
    from redwood.settings.loop import run_protocol

    numbers = run.device_numbers(setting.workers)
    run.check_devices(setting.workers)
    run.refuse_used_directory()
    if setting.workers == 1:
        return run_protocol(setting, method, run)
    from lightning_fabric import Fabric

    external = _started_by_a_launcher(setting.workers)
    if run.nodes > 1 and not external:
        raise InvalidOptionError(
            f"--nodes {run.nodes} needs one process per worker; start them with torchrun or srun on each machine."
        )
    fabric = Fabric(
        accelerator=run.accelerator,
        devices=numbers,
        num_nodes=run.nodes,
        strategy="ddp" if external else "ddp_spawn",
    )
    if external:
        fabric.launch()
        return run_protocol(setting, method, run)
    results, trained = _launch(fabric, _packed(setting, method, run))
    method.__dict__.update(trained.__dict__)
    return results


def _packed(*content: Any) -> bytes:
    try:
        return pickle.dumps(content)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InvalidOptionError(
            f"--workers takes processes of their own, to which something cannot be sent ({reason_of(error)}); "
            "define functions and classes at the top of a module."
        ) from error


def _launch(fabric: Any, payload: bytes) -> tuple["Results", Learner]:
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

    # Not through the launcher's return queue: it waits for the workers to end before it reads what they send.
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        try:
            fabric.launch(_work, payload, _user_files(), answer)
        except ProcessRaisedException as error:
            ours = re.match(r"redwood\.[\w.]+: (.*)", str(error).strip().splitlines()[-1])
            if ours:
                raise RedwoodError(ours[1]) from error
            raise
        except ProcessExitedException as error:
            end = f"signal {error.signal_name}" if error.signal_name else f"exit status {error.exit_code}"
            raise RedwoodError(
                f"Worker {error.error_index} was ended by {end}, and the others with it; "
                "go on with --resume and its run directory, or start it anew."
            ) from error
        results, trained = pickle.loads(answer.read_bytes())
    return results, trained


def _work(fabric: Any, payload: bytes, user_files: list[str], answer: Path) -> None:
    """What a spawned worker does: become one that Lightning recognises, and run the protocol."""
    from redwood.settings.loop import run_protocol

    os.environ.update(
        LOCAL_RANK=str(fabric.local_rank),
        NODE_RANK="0",
        RANK=str(fabric.global_rank),
        WORLD_SIZE=str(fabric.world_size),
    )
    for path in user_files:
        load_file("class", Path(path))
    setting, method, run = pickle.loads(payload)
    results = run_protocol(setting, method, run)
    if fabric.global_rank == 0:
        answer.write_bytes(pickle.dumps((results, method)))


def _user_files() -> list[str]:
    """Files that classes were loaded from by path: a new process has to load them before it can unpickle these."""
    return [str(m.__file__) for name, m in sys.modules.items() if name.startswith(USER_FILE_PREFIX)]


def launched_processes() -> int:
    """How many processes torchrun or SLURM has started, of which this is one; 1 if neither has."""
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if not (TorchElasticEnvironment.detect() or SLURMEnvironment.detect()):
        return 1
    return int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS", "1"))


def is_first_process() -> bool:
    """Whether this process is the first of those that torchrun or SLURM has started, or the only one."""
    return launched_processes() == 1 or int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID", "0")) == 0


def _started_by_a_launcher(workers: int) -> bool:
    count = launched_processes()
    if count not in (1, workers):
        raise InvalidOptionError(
            f"The launcher started {count} processes, but --workers is {workers}; make them equal."
        )
    return count > 1
