"""Start the workers of a data-parallel run, or join those that a launcher has started."""

import io
import os
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from redwood.core.errors import InvalidOptionError, reason_of
from redwood.core.registry import USER_FILE_PREFIX, load_file
from redwood.runs.processes import Workers
from redwood.settings.base import Setting
from redwood.settings.protocols import Learner

if TYPE_CHECKING:
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment

    from redwood.runs.run import Run
    from redwood.settings.results import Results


# What redwood's own methods let go of in `on_finish`, and what the run closes.
_LET_GO = ("run", "phase", "session", "host_batch", "_strategy")
_TENSORS = (Tensor, nn.Parameter)


class _Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        return len(content)


class _Probe(pickle.Pickler):
    """Pickles, but for what is known to be sent, what is let go of, and large content."""

    def __init__(self, known: list[Any]) -> None:
        super().__init__(io.BufferedWriter(_Nowhere()))
        self._known = {id(value): value for value in known}

    def persistent_id(self, value: Any) -> Any:
        """A name for what is not looked into."""
        plain = type(value) in _TENSORS or (type(value) is np.ndarray and not value.dtype.hasobject)
        return id(value) if plain or id(value) in self._known else None


def check_can_be_sent(method: Learner, sure: bool = False) -> None:
    """Raise `InvalidOptionError`, which names the attribute, if a worker could not send the method back.

    Args:
        method: The method; one with an `on_finish` of its own may let go of anything until then.
        sure: Whether the run is over, so that it is not to be hoped for.
    """
    if not sure and not type(method).on_finish.__module__.startswith("redwood."):
        return
    attributes = vars(method)
    known = [method, *(attributes[name] for name in _LET_GO if name in attributes)]
    for name, value in attributes.items():
        if name in _LET_GO:
            continue
        try:
            _Probe(known).dump(value)
        except Exception as error:  # objects raise anything when they are pickled
            raise InvalidOptionError(
                f"{type(method).__name__} keeps self.{name}, of the class {type(value).__name__}, which a worker "
                f"cannot send back at the end of the run ({reason_of(error)}); keep it in a local variable, or "
                "delete it at the end of fit."
            ) from error


def run_in_workers(setting: Setting, method: Learner, run: "Run") -> "Results":
    """Run the protocol in as many processes as the setting has workers.

    One worker runs right here. Several are spawned, unless torchrun or SLURM has started them already.
    Afterwards `method` is in the state that the first worker reached.
    """
    from redwood.runs.loop import run_protocol

    run.device_numbers(setting.workers)
    run.check_devices(setting.workers)
    run.refuse_used_directory()
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
    results, trained = _spawn(setting.workers, _packed(setting, method, run))
    method.__dict__.update(trained.__dict__)
    return results


def _refuse_joined_workers() -> None:
    """An earlier run of a comparison may have joined the processes of a launcher; they would share this run, too."""
    from redwood.core.workers import world_size

    if world_size() > 1:
        raise InvalidOptionError(
            f"--workers 1 cannot be run by {world_size()} processes of a launcher; run that pair without the launcher."
        )


def _join(setting: Setting, run: "Run") -> None:
    """Meet the other workers."""
    from lightning_fabric import Fabric

    from redwood.runs.loop import quiet_lightning

    with quiet_lightning():
        Fabric(
            accelerator=run.accelerator,
            devices=run.device_numbers(setting.workers),
            num_nodes=run.nodes,
            strategy="ddp",
            plugins=[cluster_environment()],
        ).launch()


def _packed(*content: Any) -> bytes:
    try:
        return pickle.dumps(content)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InvalidOptionError(
            f"--workers takes processes of their own, to which something cannot be sent ({reason_of(error)}); "
            "define functions and classes at the top of a module."
        ) from error


def _spawn(count: int, payload: bytes) -> tuple["Results", Learner]:
    import torch
    from lightning_fabric.plugins.environments.lightning import find_free_network_port

    port = find_free_network_port()
    exact = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with Workers(count, _work, count, port, _user_files(), exact, payload) as workers:
        results, trained = workers.result()
    return results, trained


def _work(rank: int, count: int, port: int, user_files: list[str], exact: tuple[bool, bool], payload: bytes) -> Any:
    """What a spawned worker does: become one that Lightning recognises, and run the protocol."""
    import torch

    from redwood.runs.loop import run_protocol

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
        torch.set_num_threads(max(1, _cores() // count))
    torch.use_deterministic_algorithms(exact[0], warn_only=exact[1])
    for path in user_files:
        load_file("class", Path(path))
    setting, method, run = pickle.loads(payload)
    _join(setting, run)
    run.sends_back = True
    results = run_protocol(setting, method, run)
    if rank != 0:
        return None
    check_can_be_sent(method, sure=True)
    return results, method


class _Spawned:
    """Whether this process is a worker that `run_in_workers` has started."""

    here = False


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cluster_environment() -> "ClusterEnvironment":
    """What tells Lightning the place of this process among the workers.

    Lightning would look for itself. Of SLURM it would take over more: on a signal it saves a checkpoint of its own and
    sends the job to the queue again, and the next phase would train on from that checkpoint.

    Raises:
        InvalidOptionError: If SLURM was not told how many tasks each machine has.
    """
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if _Spawned.here or launched_processes() == 1:
        return LightningEnvironment()
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    try:
        return SLURMEnvironment(auto_requeue=False)
    except RuntimeError as error:
        raise InvalidOptionError("With --ntasks, SLURM has to be given --ntasks-per-node, too.") from error


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
