"""Experts that are trained apart from each other: one after the other in this process, or in processes of their own.

An expert gets the same random numbers and threads wherever it is trained. So the number of processes changes no bit of
the result.
"""

import heapq
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import override

from redwood.branches.modular.expert import Course, Learned, Lesson, Shard, ShardLoader, ShardPhase
from redwood.branches.modular.mixture import answer
from redwood.core.errors import InvalidOptionError, reason_of
from redwood.core.registry import load_file
from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.core.state import copy_state
from redwood.engine.launch import user_files
from redwood.engine.loop import quiet_lightning
from redwood.engine.processes import Workers
from redwood.engine.run import Run
from redwood.methods.lightning import LightningMethod
from redwood.methods.networks.last_layer import CHUNK

# This module takes seconds to import, and each phase starts its processes anew.
PRELOAD = (__name__,)


@dataclass
class _Expert(LightningMethod):
    """Train the network of one expert as a method of its own; its options are those of the mixture."""

    @override
    def forward(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        return answer(self.network, x)


def learn(course: Course, lessons: Sequence[Lesson], processes: int) -> list[Learned]:
    """Train experts, each on its own samples, in up to `processes` processes at once.

    Args:
        course: The data that the lessons share.
        lessons: One for each expert.
        processes: 1 trains them in this process.

    Returns:
        The result of each expert, in the order of the lessons.

    Raises:
        RedwoodError: If a loss is no number any more, or a process is killed.
        InvalidOptionError: If something cannot be sent to another process.
    """
    shares = share_out([len(lesson.steps) for lesson in lessons], processes)
    if len(shares) <= 1:
        return [_learn_one(course, lesson) for lesson in lessons]
    own = [_packed(course, [lessons[number] for number in share]) for share in shares]
    exact = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with Workers(len(shares), _learn_share, user_files(), exact, own=own, preload=PRELOAD) as workers:
        results = workers.results()
    found = dict(zip(chain(*shares), chain(*results), strict=True))
    return [found[number] for number in range(len(lessons))]


def share_out(loads: Sequence[float], n_shares: int) -> list[list[int]]:
    """Numbers of the loads in each share: the largest load goes first, always to the share with the least so far.

    Shares that would be empty are left out (Graham, 1969, "Bounds on Multiprocessing Timing Anomalies").

    Examples:
        >>> share_out([3.0, 5.0, 2.0, 1.0], 2)
        [[1, 3], [0, 2]]
    """
    shares: list[list[int]] = [[] for _ in range(min(n_shares, len(loads)))]
    least = [(0.0, share) for share in range(len(shares))]
    for number in sorted(range(len(loads)), key=lambda number: -loads[number]):
        load, share = least[0]
        shares[share].append(number)
        heapq.heapreplace(least, (load + loads[number], share))
    return shares


def _packed(course: Course, lessons: list[Lesson]) -> bytes:
    try:
        return pickle.dumps((course, lessons))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InvalidOptionError(
            f"--expert_processes takes processes of their own, to which something cannot be sent ({reason_of(error)}); "
            "define functions and classes at the top of a module."
        ) from error


def _learn_share(rank: int, files: list[str], exact: tuple[bool, bool], content: bytes) -> list[Learned]:
    """The job of a process: train its experts one after the other."""
    torch.use_deterministic_algorithms(exact[0], warn_only=exact[1])
    for path in files:
        load_file("class", Path(path))
    course, lessons = pickle.loads(content)
    return [_learn_one(course, lesson) for lesson in lessons]


def _learn_one(course: Course, lesson: Lesson) -> Learned:
    threads = torch.get_num_threads()
    try:
        with preserved_random_state(), quiet_lightning():
            seed_everything(lesson.seed, "part", course.part[0])
            return _trained(course, lesson)
    finally:
        torch.set_num_threads(threads)


def _trained(course: Course, lesson: Lesson) -> Learned:
    part, n_parts = course.part
    goes_on = part + 1 < n_parts
    # The parts are phases of the expert; the state of its optimizer passes from one to the next.
    state = "keep" if n_parts > 1 else "reset"
    expert = _Expert(**course.options | {"model": lesson.network, "optimizer_state": state})
    run = Run(**course.run)
    run.num_phases = n_parts
    expert.attach(run)
    expert.configure(course.setting)
    expert.heads.load_state_dict(course.heads)
    expert.phase_count, expert.kept = part, lesson.optimizer
    if len(lesson.steps):
        loader = ShardLoader(lesson.shard, course.setting.batch_size, lesson.steps, lesson.seed)
        expert.fit(ShardPhase(loader, course.task_classes))
    n_wrong = 0
    if goes_on:
        with expert.flops.count("selection"):
            n_wrong = _count_wrong(expert, lesson.shard)
    kept = copy_state(expert.kept) if goes_on else None
    return Learned(copy_state(expert.network), expert.flops.by_use(), n_wrong, kept)


def _count_wrong(expert: _Expert, shard: Shard) -> int:
    wrong = 0
    for rows in torch.arange(len(shard)).split(CHUNK):
        part = shard[rows]
        scores = expert.predict(part.x, part.task_id if expert.heads.active else None)
        wrong += int((scores.argmax(1).cpu() != part.y).sum())
    return wrong
