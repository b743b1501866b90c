"""Replay from the buffers of all workers, drawn during the previous step (Bouvier et al., 2024)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from gymnasium.spaces import Discrete
from torch import Tensor
from typing_extensions import override

from redwood.buffers import AsyncRehearsalBuffer, RehearsalBuffer
from redwood.buffers.distributed.resharding import reshard
from redwood.buffers.pytree import Tree, flatten, to_plain, unflatten
from redwood.core.seeding import derive_seed
from redwood.core.state import State
from redwood.core.workers import rank, world_size
from redwood.methods.lightning import LightningMethod
from redwood.methods.replay.options import ReplayOptions, check_suits
from redwood.methods.replay.replay import LocalReplay, Replay
from redwood.methods.training.step import Replayed, Rows, Step
from redwood.settings.supervised import SupervisedSetting

if TYPE_CHECKING:
    from pytorch_lightning.strategies import Strategy

    from redwood.methods.replay.rehearsal import Rehearsal


def make_replay(method: LightningMethod, setting: SupervisedSetting, *, options: ReplayOptions, draws: int) -> Replay:
    """The buffer that a method replays from: its own, or with `--async` one that all workers share.

    Args:
        method: The method.
        options: Its options.
        setting: Its setting.
        draws: How often the method draws in each step.

    Raises:
        InvalidOptionError: If the buffer cannot be made, or needs labels or task ids that the setting hides.
    """
    options.check_place()
    size = options.own_share(method.run.saved_by)
    if options.asynchronous:
        world = method.run.saved_by or world_size()
        replay: Replay = SharedReplay(_shared_buffer(options, setting, draws), draws, method.device, setting, world)
    else:
        buffer = options.make_buffer(
            "buffer", setting.seed, options.buffer_policy.make(), options.buffer_sampler.make(), **size
        )
        on_gpu = options.is_on_gpu(method.device)
        replay = LocalReplay(method, buffer, options.replay_ratio, on_gpu=on_gpu)
    check_suits(replay.buffer, setting)
    return replay


def _shared_buffer(options: ReplayOptions, setting: SupervisedSetting, draws: int) -> AsyncRehearsalBuffer:
    return AsyncRehearsalBuffer(
        options.buffer_size - options.kept_apart,
        replay=draws * max(1, round(options.replay_ratio * setting.batch_size)),
        policy=options.buffer_policy.make(),
        sampler=options.buffer_sampler.make(),
        tier=options.buffer_tier.key,
        directory=options.buffer_tier.directory,
        seed=derive_seed(setting.seed, "buffer"),
    )


def picked_rows(samples: Sequence[Tree], rows: Tensor) -> Tree:
    """Some (k,) of the samples (n, ...) of several workers, numbered one worker after the other; None if all are."""
    filled = [some for some in samples if some is not None]
    if not filled:
        return None
    leaves = zip(*([leaf for _, leaf in flatten(some)] for some in filled), strict=True)
    return unflatten(filled[0], (torch.cat(parts)[rows] for parts in leaves))


class SharedReplay(Replay):
    """Replay from an asynchronous buffer: a Lightning strategy (`MethodStrategy`) fills it and draws from it.

    Attributes:
        memory: The asynchronous buffer, the same in all phases.
    """

    def __init__(
        self, memory: AsyncRehearsalBuffer, draws: int, device: torch.device, setting: SupervisedSetting, world: int
    ) -> None:
        """Share a buffer with the other workers, `world` in all; each step draws `draws` times from it."""
        self.memory = memory
        self._draws, self._device = draws, device
        self._has_classes = isinstance(setting.action_space, Discrete)
        self._is_saved_apart = False
        memory.prepare(rank(), world, device)

    @property
    @override
    def buffer(self) -> RehearsalBuffer:
        """This worker's part of the buffer; the strategy may replace it as it loads a checkpoint."""
        return self.memory.buffer

    @override
    def draw(self, step: Step, number: int = 0) -> Replayed | None:
        # The strategy has drawn the rows of all draws at once; each draw gets every so many of them.
        ahead = step.drawn_ahead
        if ahead is None or len(ahead["y"]) <= number:
            return None
        rows = {name: leaf[number :: self._draws] for name, leaf in ahead.items()}
        return Replayed(rows, slots=torch.empty(0, dtype=torch.int64))

    @override
    def add(self, step: Step, more: Rows, chosen: Tensor | None = None) -> None:
        """Do nothing: the strategy adds the samples in the background."""

    @override
    def rate(self, step: Step) -> None:
        """Do nothing: no policy of an asynchronous buffer goes by losses."""

    @override
    def never_drew(self) -> bool:
        return False

    @override
    def strategy(self, method: "Rehearsal") -> "Strategy | None":
        from redwood.methods.replay.async_strategy import MethodStrategy  # it starts Lightning up

        return MethodStrategy(method, self.memory)

    @override
    def costs(self) -> State:
        profiler = self.memory.profiler
        return profiler.costs() | {
            "stored": len(self.buffer),
            "stored_by_class": self.buffer.class_counts() if self._has_classes else {},
            "timeline": profiler.timeline(),
        }

    @override
    @contextmanager
    def saved_by_strategy(self) -> Iterator[None]:
        self._is_saved_apart = True
        try:
            yield
        finally:
            self._is_saved_apart = False

    def state_dict(self) -> State:
        """The buffer and all that later draws depend on; empty while the strategy saves them."""
        if self._is_saved_apart:
            return {}
        return {"buffer": self.buffer.state_dict(), "memory": self.memory.extra_state()}

    @override
    def state_for_other_workers(self, states: list[State]) -> State:
        # Every worker has the rows of all: a checkpoint between phases is one file.
        buffers = [state["buffer"] for state in states]
        blank = [saved | {"rows": to_plain(saved["rows"], lambda leaf: leaf[:0])} for saved in buffers]
        part = reshard(blank, self.buffer, rank(), world_size())
        rows = picked_rows([saved["rows"] for saved in buffers], part.rows)
        return {"buffer": part.state | {"rows": rows}, "memory": states[0]["memory"]}

    def load_state_dict(self, state: State) -> None:
        """Continue from a state; an empty one says that the strategy has loaded the buffer already."""
        if state:  # else the strategy has loaded it
            self.buffer.load_state_dict(state["buffer"])
            self.buffer.to(self._device)
            self.memory.restore(state["memory"])
