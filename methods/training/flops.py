"""Count the floating-point operations of training without slowing it down."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from redwood.core.state import State

# What went through the network in one step: the number of samples of each call.
Kind = tuple[int, ...]


class FlopMeter:
    """FLOPs of all training steps, from one counted step of each kind.

    `torch.utils.flop_counter` makes a step many times slower. What a step costs is decided by how many samples go
    through the network in each call, so one step of each such kind is counted and the others are multiples of it.
    A kind that was never counted, such as a ragged last batch, is scaled from the others by its samples.
    """

    def __init__(self) -> None:
        self._steps: Counter[Kind] = Counter()
        self._counted: dict[Kind, float] = {}
        self._last: Kind = ()
        self._apart = 0.0
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
        times = self._steps[self._last]
        if self._last not in self._counted and times & (times - 1) == 0:
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()

    def end_step(self) -> None:
        """File the step under its kind."""
        kind = tuple(self._calls)
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._counted[kind] = float(self._counter.get_total_flops())
            self._counter = None
        self._steps[kind] += 1
        self._last = kind

    def start_anew(self) -> None:
        """Count each kind of step anew, from the next one on: the network has changed."""
        self._apart = self.total()
        self._steps.clear()
        self._counted.clear()
        self._last = ()

    @contextmanager
    def count(self) -> Iterator[None]:
        """Count all that the body computes, outside training steps."""
        with FlopCounterMode(display=False) as counter:
            yield
        self._apart += float(counter.get_total_flops())

    def total(self) -> float:
        """FLOPs so far."""
        samples = sum(sum(kind) for kind in self._counted)
        per_sample = sum(self._counted.values()) / samples if samples else 0.0
        return self._apart + sum(
            steps * self._counted.get(kind, per_sample * sum(kind)) for kind, steps in self._steps.items()
        )

    def state_dict(self) -> State:
        """The counts, as plain values."""
        return {
            "steps": [[list(kind), count] for kind, count in self._steps.items()],
            "counted": [[list(kind), flops] for kind, flops in self._counted.items()],
            "last": list(self._last),
            "apart": self._apart,
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from earlier counts."""
        self._steps = Counter({tuple(kind): count for kind, count in state["steps"]})
        self._counted = {tuple(kind): flops for kind, flops in state["counted"]}
        self._last, self._apart = tuple(state["last"]), state["apart"]
