"""Arrange the samples of all tasks in phases: hold samples out, and mix tasks within a phase."""

from dataclasses import dataclass

import torch
from torch import Tensor

from redwood.core.seeding import derive_seed, generator
from redwood.settings.assumptions import Assumptions, Context
from redwood.settings.data.entries import Entries
from redwood.settings.streams.held_out import HeldOut, held_out_along
from redwood.settings.streams.order import shuffled
from redwood.settings.streams.transitions import Transition


@dataclass(frozen=True)
class PhaseOptions:
    """The options that decide the phases.

    Attributes:
        promised: The promises of the setting.
        transition: The transition from one task to the next.
        validation: Share of each task's samples that is held out.
        seed: Decides which samples are held out, and the order of the others.
        in_order: Whether samples come in their order.
        part: The tasks of the run, among all tasks of the stream.
        mask: Training samples of the data set (N,), bool, that it keeps for validation; None: a share is held out.
        n_rows: Number of training samples N.
    """

    promised: Assumptions
    transition: Transition
    validation: float
    seed: int
    in_order: bool
    part: slice
    mask: Tensor | None
    n_rows: int


def split_into_phases(tasks: list[Entries], options: PhaseOptions) -> tuple[list[Entries], list[HeldOut]]:
    """The training samples and the held-out samples of each phase of the run.

    Args:
        tasks: The samples of each task of the stream, also of tasks that are no part of the run.
        options: The options that decide the phases.
    """
    promised, part = options.promised, options.part
    train, held_out = _hold_out(tasks, options)
    if promised.context == Context.STATIONARY or not promised.boundaries:
        tasks, train, held_out, part = tasks[part], train[part], held_out[part], slice(None)
    if options.in_order or not promised.boundaries:
        aside, streams = Entries.concatenate(held_out), _arrange(tasks, options)
        pairs = [held_out_along(stream, aside, options.n_rows, options.seed) for stream in streams[part]]
        return [rest for rest, _ in pairs], [along for _, along in pairs]
    phases = _arrange(train, options)
    if promised.past_accessible:
        held_out = [Entries.concatenate(held_out[: number + 1]) for number in range(len(tasks))]
    if len(phases) < len(tasks):
        held_out = [Entries.concatenate(held_out)]
    seed = derive_seed(options.seed, "held out") % 2**48
    return phases[part], [HeldOut(shuffled(entries, seed)) for entries in held_out[part]]


def _hold_out(tasks: list[Entries], options: PhaseOptions) -> tuple[list[Entries], list[Entries]]:
    """Split each task's samples into training and validation."""
    mask = options.mask
    if mask is not None:
        aside = [mask[entries.rows] for entries in tasks]
        rest = [entries[~marked] for entries, marked in zip(tasks, aside, strict=True)]
        return rest, [entries[marked] for entries, marked in zip(tasks, aside, strict=True)]
    train, validation = [], []
    for number, entries in enumerate(tasks):
        order = torch.randperm(len(entries), generator=generator(options.seed, "validation", number))
        held_out = int(options.validation * len(entries))
        train.append(entries[order[held_out:].sort().values])
        validation.append(entries[order[:held_out].sort().values])
    return train, validation


def _arrange(tasks: list[Entries], options: PhaseOptions) -> list[Entries]:
    """The samples of each phase, in the order of the stream where the order matters."""
    promised = options.promised
    seed = derive_seed(options.seed, "order") % 2**48
    if promised.context == Context.STATIONARY:
        return [Entries.concatenate(tasks)]
    if options.in_order and not promised.boundaries:
        return [Entries.concatenate(tasks)]
    tasks = options.transition.mix(tasks, seed)
    if not promised.boundaries:
        return [options.transition.join(tasks, seed, options.part.start)]
    if promised.past_accessible:
        return [Entries.concatenate(tasks[: number + 1]) for number in range(len(tasks))]
    return tasks
