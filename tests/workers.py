"""Two processes that stay alive for a whole test session, since starting one takes seconds."""

import multiprocessing
import os
import pickle
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

TIMEOUT_S = 60
N_WORKERS = 2


class TwoWorkers:
    """Runs functions on two workers that are joined by gloo, as `redwood.settings.launch` would start them."""

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._folder = tempfile.TemporaryDirectory()
        meeting_point = Path(self._folder.name) / "meeting_point"
        self._pipes, self._processes = [], []
        for rank in range(N_WORKERS):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(rank, meeting_point, there), daemon=True)
            process.start()
            self._pipes.append(here)
            self._processes.append(process)
        return self

    def __exit__(self, *error: object) -> None:
        for pipe in self._pipes:
            pipe.send_bytes(pickle.dumps(None))
        for process in self._processes:
            process.join(TIMEOUT_S)
        self._folder.cleanup()

    def run(self, job: Callable[..., Any], *args: Any) -> list[Any]:
        """What `job(*args)` returns on each worker; both have to be found by importing their module."""
        for pipe in self._pipes:
            pipe.send_bytes(pickle.dumps((job, args)))
        answers = []
        for rank, pipe in enumerate(self._pipes):
            assert pipe.poll(2 * TIMEOUT_S), f"worker {rank} hangs in {job.__name__}"
            answers.append(pickle.loads(pipe.recv_bytes()))
        for failed, answer in answers:
            assert not failed, answer
        return [answer for _, answer in answers]


def _serve(rank: int, meeting_point: Path, pipe: Connection) -> None:
    # These make Lightning take the process for a worker that somebody else has started.
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", RANK=str(rank), WORLD_SIZE=str(N_WORKERS))
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=meeting_point.as_uri(),
        rank=rank,
        world_size=N_WORKERS,
        timeout=timedelta(seconds=TIMEOUT_S),
    )
    while (request := pickle.loads(pipe.recv_bytes())) is not None:
        job, args = request
        try:
            answer = (False, job(*args))
        except BaseException:  # a failed assertion of pytest is no Exception
            answer = (True, traceback.format_exc())
        pipe.send_bytes(pickle.dumps(answer))
    dist.destroy_process_group()
