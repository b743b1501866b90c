"""Workers that torchrun starts, and starts again."""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from hashlib import blake2b

import torch.distributed as dist
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]
from torch.distributed.constants import default_pg_timeout

from redwood.core.errors import WorkerLostError

POLL_S = 0.02


@contextmanager
def meeting() -> Iterator[None]:
    """Raise an error of one sentence if the workers do not find each other in time.

    Raises:
        WorkerLostError: In place of a backend's error about a store or a connection; other errors stay as they are.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error).lower()
        is_late = "timed out" in text or "timeout" in text
        if not is_late or not (isinstance(error, dist.DistError) or "gloo" in text):
            raise
        raise WorkerLostError(
            "Not all workers came in time; look for the first error among them, and for one that was not started; if "
            "one was only slow, raise timeout."
        ) from error


def is_restarted() -> bool:
    """True if torchrun has started this worker in the place of another one."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def launch_id() -> str | None:
    """Return the text that identifies this start of torchrun on all its machines; None without torchrun."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    # A start without a name is identified by the address of its store. All starts of one name count as one.
    if name in (None, "", "none"):
        name = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}" if name else None
    return name


def join_workers(backend: Callable[[], str], timeout: timedelta | None) -> None:
    """Make the default process group of torchrun's workers, if there is none; does nothing without torchrun.

    torchrun keeps one store for all lives of its workers (pytorch issue 135712). A worker that is started again may
    read there where another one could be reached in an earlier life, and fail. So the group is made in a part of the
    store that only this life uses.

    Args:
        backend: Returns the backend of the group.
        timeout: Of its collectives; None: as torch's default for the backend.

    Raises:
        WorkerLostError: If the other workers do not come.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or world == 1 or dist.is_initialized():
        return
    rank = int(os.environ["RANK"])
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    meeting = timeout or default_pg_timeout
    store = TCPStore(address, port, world, is_master=False, timeout=meeting)
    own = part_of_this_life(PrefixStore("redwood", store), rank, world, meeting)
    dist.init_process_group(backend(), store=own, rank=rank, world_size=world, timeout=timeout)


def part_of_this_life(store: Store, rank: int, world: int, timeout: timedelta) -> Store:
    """A part of a store that the workers agree on, and that no earlier worker has written to.

    Each worker draws a random number, and shows a hash of the numbers of all. Once all hashes are equal, each worker
    has seen the current number of each other one, since its own is in that hash.

    Raises:
        WorkerLostError: If the other workers do not come in time.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    store.set(f"number/{rank}", secrets.token_hex(16))
    while time.monotonic() < deadline:
        if store.check([f"number/{other}" for other in range(world)]):
            numbers = store.multi_get([f"number/{other}" for other in range(world)])
            seen = blake2b(b" ".join(numbers), digest_size=16).hexdigest()
            store.set(f"seen/{rank}", seen)
            hashes = [f"seen/{other}" for other in range(world)]
            if store.check(hashes) and set(store.multi_get(hashes)) == {seen.encode()}:
                return PrefixStore(seen, store)
        time.sleep(POLL_S)
    raise WorkerLostError(f"Not all of {world} workers came within {timeout}; look for the first error among them.")
