"""Count the floating-point operations of a method, by their use, without slowing it down."""

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from redwood.core.state import Stateful
from redwood.settings.scores.cost import USES

__all__ = ["USES", "FlopMeter"]

# What went through the network in one step: the number of samples of each call.
Kind = tuple[int, ...]


class FlopMeter(Stateful):
    """FLOPs by their use: of all training steps, from one counted step of each kind, and of what `count` surrounds.

    `torch.utils.flop_counter` makes a step many times slower. The number of samples in each call of the network decides
    the cost of a step. So one step of each such kind is counted, and the others are multiples of it. A kind that was
    never counted, such as a ragged last batch, is scaled from the others by its samples.
    """

    def __init__(self) -> None:
        self.steps: dict[Kind, int] = self.add_state("steps", {})
        self.counted: dict[Kind, float] = self.add_state("counted", {})
        self.last: Kind = self.add_state("last", ())  # the kind of the last step
        # FLOPs of each use, but for those of the training steps that are counted by kind.
        self.apart: dict[str, float] = self.add_state("apart", dict.fromkeys(USES, 0.0))
        # FLOPs of the bodies that `count_once` has counted, by use and kind.
        self.bodies: dict[tuple[str, Hashable], float] = self.add_state("bodies", {})
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

        A kind may never come twice in a row, such as a ragged last batch. Then each of its steps would make the next
        step, of another kind, be counted. So this happens only after its first, second, fourth, eighth, ... step.
        """
        self._calls.clear()
        times = self.steps.get(self.last, 0)
        if self.last not in self.counted and times & (times - 1) == 0:
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()

    @property
    def counting(self) -> bool:
        """True if the operations of this step are counted; else an earlier step of its kind gives their number."""
        return self._counter is not None

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
        """Count each kind of step or body anew, from the next one on: the network has changed."""
        self.apart["training"] = self._training()
        self.steps.clear()
        self.counted.clear()
        self.bodies.clear()
        self.last = ()

    @contextmanager
    def count(self, use: str = "training") -> Iterator[None]:
        """Count all that the body computes, outside training steps, under a use of `USES`."""
        with FlopCounterMode(display=False) as counter:
            yield
        self.apart[use] += float(counter.get_total_flops())

    @contextmanager
    def count_once(self, use: str, kind: Hashable) -> Iterator[None]:
        """Count a body that costs the same each time, at the speed of the body itself.

        Args:
            use: What the body computes for, of `USES`.
            kind: What decides the FLOPs of the body, such as its number of samples: a plain value or a tuple of them.
                Only the first body of each kind is counted, and the others take over its figure.
        """
        if (use, kind) in self.bodies:
            yield
        else:
            with FlopCounterMode(display=False) as counter:
                yield
            self.bodies[use, kind] = float(counter.get_total_flops())
        self.apart[use] += self.bodies[use, kind]

    def move(self, flops: float, source: str = "training", target: str = "search") -> None:
        """Take FLOPs that were counted under the use `source` for those of `target`, such as the steps of a trial."""
        self.apart[source] -= flops
        self.apart[target] += flops

    def by_use(self) -> dict[str, float]:
        """FLOPs so far of each use."""
        return self.apart | {"training": self._training()}

    def add(self, flops: Mapping[str, float]) -> None:
        """Add FLOPs of each use that another meter has counted, in another process for one."""
        for use, number in flops.items():
            self.apart[use] += number

    def total(self) -> float:
        """FLOPs so far of training, the steps of a search included."""
        return self._training() + self.apart["search"]

    def _training(self) -> float:
        samples = sum(sum(kind) for kind in self.counted)
        per_sample = sum(self.counted.values()) / samples if samples else 0.0
        return self.apart["training"] + sum(
            steps * self.counted.get(kind, per_sample * sum(kind)) for kind, steps in self.steps.items()
        )
