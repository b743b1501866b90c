"""Start the workers of a data-parallel run, or join workers of a launcher, and run the protocol in each.

`run_in_workers` is the way in: `Setting.apply` calls it.
"""

import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment, find_free_network_port
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from redwood.core.child_processes import check_processes, usable_cores
from redwood.core.errors import InvalidOptionError, reason_of
from redwood.core.neighbours import USER_FILE_PREFIX
from redwood.core.registry import load_file
from redwood.core.torchrun import join_workers, meeting
from redwood.core.workers import TIMEOUT, raise_after_timeout, world_size
from redwood.engine.launched import is_first_process, launched_processes
from redwood.engine.loop import quiet_lightning, run_protocol
from redwood.engine.processes import Workers
from redwood.engine.run import Run
from redwood.engine.sending import check_can_be_sent
from redwood.settings.base import Setting
from redwood.settings.protocols import Learner
from redwood.settings.scores.results import Results


def run_in_workers(setting: Setting, method: Learner, run: Run) -> Results:
    """Run the protocol in as many processes as the setting has workers.

    One worker runs in this process. Several are spawned, unless torchrun or SLURM has started them already.
    Afterwards `method` is in the state that the first worker reached.
    """
    run.go_on_if_restarted()
    if run.resume:
        setting = _with_number_of_launcher(setting, run)
    run.device_numbers(setting.workers)
    run.check_devices(setting.workers)
    if run.folder is not None:
        run.folder.refuse_used()
    if setting.workers == 1:
        _refuse_joined_workers()
        return run_protocol(setting, method, run)
    external = _started_by_a_launcher(setting.workers)
    if run.nodes > 1 and not external:
        raise InvalidOptionError(
            f"--nodes {run.nodes} needs one process per worker; start them with torchrun or srun on each machine."
        )
    if external:
        _join(setting, run)
        return run_protocol(setting, method, run)
    check_processes("workers", setting.workers)
    results, trained = _spawn(setting.workers, _packed(setting, method, run))
    method.__dict__.update(trained.__dict__)
    return results


# Processes that a launcher has started


def _started_by_a_launcher(workers: int) -> bool:
    count = launched_processes()
    if count not in (1, workers):
        raise InvalidOptionError(
            f"The launcher started {count} processes, but --workers is {workers}; make them equal."
        )
    return count > 1


def _with_number_of_launcher(setting: Setting, run: Run) -> Setting:
    """The setting of a run that goes on, with as many workers as torchrun has started; the number may have changed."""
    count = launched_processes()
    if count in (1, setting.workers) or "LOCAL_WORLD_SIZE" not in os.environ:
        return setting
    if is_first_process():
        print(
            f"the run of {setting.workers} workers goes on with {count}, as torchrun has started so many",
            file=sys.stderr,
        )
    run.nodes = count // int(os.environ["LOCAL_WORLD_SIZE"])
    return replace(setting, workers=count)


def _refuse_joined_workers() -> None:
    """An earlier run of a comparison may have joined the processes of a launcher; they would share this run, too."""
    if world_size() > 1:
        raise InvalidOptionError(
            f"--workers 1 cannot be run by {world_size()} processes of a launcher; run that pair without the launcher."
        )


def cluster_environment() -> ClusterEnvironment:
    """Return the object that tells Lightning the rank of this process.

    Lightning would find one by itself. But its object for SLURM does more on a signal: it saves a checkpoint, and sends
    the job to the queue again. The next phase would then start from that checkpoint.

    Raises:
        InvalidOptionError: If SLURM was not told how many tasks each machine has.
    """
    if _Spawned.here or launched_processes() == 1:
        return LightningEnvironment()
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    try:
        return SLURMEnvironment(auto_requeue=False)
    except RuntimeError as error:
        raise InvalidOptionError("With --ntasks, SLURM has to be given --ntasks-per-node, too.") from error


def _join(setting: Setting, run: Run) -> None:
    """Connect this worker to the others."""
    raise_after_timeout()
    with meeting():
        join_workers(lambda: "nccl" if run.device(setting.workers).type == "cuda" else "gloo", TIMEOUT)
    with meeting(), quiet_lightning():
        Fabric(
            accelerator=run.accelerator,
            devices=run.device_numbers(setting.workers),
            num_nodes=run.nodes,
            strategy=DDPStrategy(timeout=TIMEOUT),
            plugins=[cluster_environment()],
        ).launch()


# Processes that are spawned here


class _Spawned:
    """Records in `here` whether this process is a worker that `run_in_workers` has started."""

    here = False


def _packed(setting: Setting, method: Learner, run: Run) -> bytes:
    try:
        return pickle.dumps((setting, method, run))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InvalidOptionError(
            f"--workers takes processes of their own, to which something cannot be sent ({reason_of(error)}); "
            "define functions and classes at the top of a module."
        ) from error


def _spawn(count: int, payload: bytes) -> tuple[Results, Learner]:
    port = find_free_network_port()
    exact = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with Workers(count, _work, count, port, user_files(), exact, payload) as workers:
        answer = workers.result()
    assert answer is not None
    files, packed = answer
    _load_files(files)
    trained: tuple[Results, Learner] = pickle.loads(packed)
    return trained


def _work(
    rank: int, count: int, port: int, files: list[str], exact: tuple[bool, bool], payload: bytes
) -> tuple[list[str], bytes] | None:
    """The job of a spawned worker: join the others, and run the protocol.

    Returns:
        The files of the user that the run has loaded, such as that of a network; and the results and the trained
        method, pickled, because only a process with these files can load them. None on all workers but the first.
    """
    _Spawned.here = True
    os.environ.update(
        LOCAL_RANK=str(rank),
        NODE_RANK="0",
        RANK=str(rank),
        WORLD_SIZE=str(count),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, usable_cores() // count))
    torch.use_deterministic_algorithms(exact[0], warn_only=exact[1])
    _load_files(files)
    setting, method, run = pickle.loads(payload)
    _join(setting, run)
    run.sends_back = True
    results = run_protocol(setting, method, run)
    if rank != 0:
        return None
    check_can_be_sent(method, at_end=True)
    return user_files(), pickle.dumps((results, method))


def _load_files(paths: list[str]) -> None:
    for path in paths:
        load_file("class", Path(path))


def user_files() -> list[str]:
    """Files that classes were loaded from by path; a new process loads them before it unpickles these classes."""
    return [str(m.__file__) for name, m in sys.modules.items() if name.startswith(USER_FILE_PREFIX)]
