"""Networks that share modules: frozen ones of earlier tasks, and the candidates for the task that is being learned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn


@dataclass(frozen=True)
class Candidate:
    """A network that is tried for a task: frozen modules of earlier networks first, then modules that are trained.

    Attributes:
        frozen: Names of the modules that are taken over as they are, from the stem on.
        copied: Names of the modules whose weights the modules after these start from; others start from new weights.
        origin: Name of the network that the modules come from; None if all are new.
        trial: Number of the hyper-parameters that it is trained with.
    """

    frozen: tuple[str, ...] = ()
    copied: tuple[str, ...] = ()
    origin: str | None = None
    trial: int = 0


class FrozenModules(nn.ModuleDict):
    """Modules that stay as they are, in evaluation mode. Code that walks through the network leaves them out.

    Trainers and optimizers walk through it in every step or epoch. With these modules, this would take longer with each
    task. States hold them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.training = False

    def train(self, mode: bool = True) -> Self:
        """Do nothing."""
        return self

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """Name this container alone; so `parameters` of the network are those of the candidates."""
        yield prefix, self


class ModularNetwork(nn.Module):
    """Modules by name, which never change any more, and the candidates in training that build on them.

    Attributes:
        library: The frozen modules, always in evaluation mode.
        tails: For each candidate the modules that it trains, the last ones of its chain.
        prefixes: For each candidate the names of the frozen modules before these.
    """

    def __init__(self) -> None:
        super().__init__()
        self.library = FrozenModules()
        self.tails = nn.ModuleList()
        self.prefixes: list[tuple[str, ...]] = []

    def freeze(self, name: str, module: nn.Module) -> None:
        """Add a module that does not change any more."""
        self.library[name] = module.requires_grad_(False).eval()

    def start(self, prefixes: Sequence[tuple[str, ...]], tails: Sequence[Sequence[nn.Module]]) -> None:
        """Set the candidates; each is its prefix followed by its tail."""
        self.prefixes = list(prefixes)
        self.tails = nn.ModuleList(nn.ModuleList(tail) for tail in tails)

    def tail(self, number: int) -> list[nn.Module]:
        """The modules that a candidate trains."""
        tail = self.tails[number]
        assert isinstance(tail, nn.ModuleList)
        return list(tail)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The outputs (B, n) of each candidate for samples (B, ...); modules that several share run once."""
        found: dict[tuple[str, ...], Tensor] = {(): x}
        outputs = []
        for number, prefix in enumerate(self.prefixes):
            for end in range(1, len(prefix) + 1):
                if prefix[:end] not in found:
                    found[prefix[:end]] = self.library[prefix[end - 1]](found[prefix[: end - 1]])
            outputs.append(run(self.tail(number), found[prefix]))
        return outputs

    def path(self, x: Tensor, frozen: Sequence[str], tail: Sequence[nn.Module] = ()) -> Tensor:
        """The output (B, ...) of frozen modules, and then of a tail, for samples (B, ...)."""
        return run([*(self.library[name] for name in frozen), *tail], x)


def run(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Send samples through modules, one after the other."""
    for module in modules:
        x = module(x)
    return x
