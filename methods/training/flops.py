"""Count the floating-point operations of training without slowing it down."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from redwood.core.state import Stateful

# What went through the network in one step: the number of samples of each call.
Kind = tuple[int, ...]


class FlopMeter(Stateful):
    """FLOPs of all training steps, from one counted step of each kind.

    `torch.utils.flop_counter` makes a step many times slower. What a step costs is decided by how many samples go
    through the network in each call, so one step of each such kind is counted and the others are multiples of it.
    A kind that was never counted, such as a ragged last batch, is scaled from the others by its samples.
    """

    def __init__(self) -> None:
        self.steps: dict[Kind, int] = self.add_state("steps", {})
        self.counted: dict[Kind, float] = self.add_state("counted", {})
        self.last: Kind = self.add_state("last", ())  # the kind of the last step
        self.apart = self.add_state("apart", 0.0)  # FLOPs outside the steps that are counted by kind
        self._calls: list[int] = []
        self._counter: FlopCounterMode | None = None
        self._handle: RemovableHandle | None = None

    def watch(self, network: nn.Module) -> None:
        """Note all calls of a network until `unwatch`."""
        self._handle = network.register_forward_pre_hook(self._note_call)

    def unwatch(self) -> None:
        """Note no more calls, and leave no counter switched on."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._counter = None

    def _note_call(self, network: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._calls.append(len(args[0]))

    def note(self, n: int) -> None:
        """`n` samples go through another network, too, which tells steps with it from steps without."""
        self._calls.append(n)

    def start_step(self) -> None:
        """Count this step if the kind of the step before has not been counted yet: most steps are of its kind.

        A kind that never comes twice in a row, such as a ragged last batch, would have a step of another kind counted
        after each of its own; so one is counted only after its first, second, fourth, eighth, ... step.
        """
        self._calls.clear()
        times = self.steps.get(self.last, 0)
        if self.last not in self.counted and times & (times - 1) == 0:
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()

    def end_step(self) -> None:
        """File the step under its kind."""
        kind = tuple(self._calls)
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self.counted[kind] = float(self._counter.get_total_flops())
            self._counter = None
        self.steps[kind] = self.steps.get(kind, 0) + 1
        self.last = kind

    def start_anew(self) -> None:
        """Count each kind of step anew, from the next one on: the network has changed."""
        self.apart = self.total()
        self.steps.clear()
        self.counted.clear()
        self.last = ()

    @contextmanager
    def count(self) -> Iterator[None]:
        """Count all that the body computes, outside training steps."""
        with FlopCounterMode(display=False) as counter:
            yield
        self.apart += float(counter.get_total_flops())

    def total(self) -> float:
        """FLOPs so far."""
        samples = sum(sum(kind) for kind in self.counted)
        per_sample = sum(self.counted.values()) / samples if samples else 0.0
        return self.apart + sum(
            steps * self.counted.get(kind, per_sample * sum(kind)) for kind, steps in self.steps.items()
        )
