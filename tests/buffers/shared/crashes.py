"""Kills a process at each moment at which its files change, and looks at what the next one makes of them.

Run as a program, since it forks: python -m tests.buffers.shared.crashes FOLDER. It prints how many moments it tried.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from redwood.buffers.shared.rows import RowsLostError
from redwood.buffers.storage import RowStorage
from tests.buffers.shared.helpers import CAPACITY, LAYOUT, numbers, samples, shared_rows, storage


class Countdown:
    """Kills this process when so many changes to files are through, in the middle of the next one."""

    def __init__(self, left: int) -> None:
        self._left = left

    def watch(self) -> None:
        """Have each change to a file count."""
        for name in ("pwrite", "replace", "unlink", "posix_fallocate", "open"):
            setattr(os, name, self._counted(getattr(os, name), self._half_of if name == "pwrite" else None))
        RowStorage._write_part = self._counted(RowStorage._write_part, self._garbage)  # type: ignore[method-assign]

    def _counted(self, change: Callable[..., Any], torn: Callable[..., None] | None) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            if not self._left:
                if torn is not None:
                    torn(change, *args)
                os.kill(os.getpid(), signal.SIGKILL)
            self._left -= 1
            return change(*args, **options)

        return counted

    @staticmethod
    def _half_of(write: Callable[..., Any], file: int, content: memoryview, offset: int) -> None:
        write(file, content[: len(content) // 2], offset)

    @staticmethod
    def _garbage(write: Callable[..., Any], rows: RowStorage, slots: Tensor, leaves: Any) -> None:
        rows.words(CAPACITY).view(torch.int64)[slots, ::2] = -1


def train(folder: Path, done: int) -> None:
    """What a worker does: go on from a mark, or start; write rows, and name a mark every few steps."""
    shared = shared_rows(folder)
    last = last_mark(folder)
    if last is None:
        rows, first = storage(shared), 0
    else:
        name, expected = last
        filled, first = len(expected), int(name) + 1
        found = shared.recover(LAYOUT, CAPACITY, name, filled)
        assert numbers(found[:filled]) == expected, f"mark {name}: {numbers(found[:filled])}, not {expected}"
        rows = RowStorage(LAYOUT, CAPACITY, shared=shared, rows=found)
    for step in range(first, done):
        filled = min(CAPACITY, 4 + 2 * step)
        slots = torch.tensor([(3 * step + place) % filled for place in range(4)]).unique()
        rows.write(slots, samples(100 * step + slots))
        if step == 0:
            rows.write(torch.arange(filled), samples(torch.arange(filled)))
        shared.mark(str(step), filled)
        # The checkpoint: the rows that it holds, and the place of the older one.
        (folder / "half").write_text(f"{step} {numbers(rows.words(filled))}")
        os.rename(folder / "half", folder / "checkpoint")


def last_mark(folder: Path) -> tuple[str, list[int]] | None:
    path = folder / "checkpoint"
    if not path.exists():
        return None
    name, _, content = path.read_text().partition(" ")
    return name, [int(number) for number in content.strip("[]").split(",")]


def in_child(work: Callable[[], None]) -> int:
    """How a process ends that does some work: 0, or minus a signal."""
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed(folder: Path, left: int, steps: int) -> bool:
    """Whether a worker is killed after so many changes, before it is done with its steps."""

    def work() -> None:
        Countdown(left).watch()
        try:
            train(folder, steps)
        except RowsLostError as error:
            print(error, file=sys.stderr, flush=True)
            # No mark is lost, whatever the moment.
            os._exit(2)

    status = in_child(work)
    assert status in (0, -signal.SIGKILL), f"the worker that is killed after {left} changes ends with {status}"
    return status != 0


def main(folder: Path) -> None:
    tried = 0
    for first in itertools.count():
        place = folder / str(first)
        place.mkdir()
        if not killed(place, first, 4):
            break
        # The next one may be killed as well, while it puts rows back.
        for second in (first % 7, first % 3 + 7):
            killed(place, second, 5)
        assert in_child(lambda place=place: train(place, 6)) == 0, f"after a kill at change {first}"  # type: ignore[misc]
        last = last_mark(place)
        assert last is not None and last[0] == "5"
        tried += 1
    print(tried)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
