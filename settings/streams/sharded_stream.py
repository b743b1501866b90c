"""The stream of several workers whose shards may differ in their classes: the option `--shard`."""

import math
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor
from typing_extensions import override

from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed
from redwood.core.workers import world_size
from redwood.settings.data.dataset import Dataset
from redwood.settings.streams.order import batch_cuts, workers_of_places
from redwood.settings.streams.partition import dirichlet_owners
from redwood.settings.streams.supervised_stream import SupervisedStream
from redwood.settings.streams.tasks import StreamPart

if TYPE_CHECKING:
    from redwood.settings.tree import DistributedClassIncrementalSetting

EVEN, DIRICHLET = "even", "dirichlet:"


def concentration_of(shard: str) -> float | None:
    """The ALPHA of `dirichlet:ALPHA`; None of `even`.

    Raises:
        InvalidOptionError: If the option is neither, or ALPHA is not greater than 0 and finite.
    """
    if shard == EVEN:
        return None
    try:
        alpha = float(shard.removeprefix(DIRICHLET)) if shard.startswith(DIRICHLET) else math.nan
    except ValueError:
        alpha = math.nan
    if not 0 < alpha < math.inf:
        raise InvalidOptionError(
            f"--shard {shard} is unknown; choose even, or dirichlet:ALPHA with a number ALPHA greater than 0, such as "
            "dirichlet:0.1."
        )
    return alpha


def check_one_class_each(option: str, data: Dataset) -> None:
    """Raise `InvalidOptionError` unless each sample has one class, by which `option` can skew the parts."""
    if data.y.dim() != 1 or data.y.is_floating_point():
        raise InvalidOptionError(
            f"{option} skews classes, but the samples of {data.name} do not have one class each; use other data, or "
            "another setting."
        )


class ShardedStream(SupervisedStream):
    """A stream whose workers each hold a fixed part of a phase, skewed in its classes, if `--shard` says so.

    All workers take the same number of steps, and one of them serves each sample. Shards have the sizes of even shards
    in the first pass. It raises `InvalidOptionError` if shards are to differ in their classes, but the data have no
    classes or keep an order.
    """

    setting: "DistributedClassIncrementalSetting"

    @cached_property
    def _alpha(self) -> float | None:
        return concentration_of(self.setting.shard)

    @override
    def _keeps_order(self, stream: StreamPart, data: Dataset) -> bool:
        keeps_order = super()._keeps_order(stream, data)
        if self._alpha is not None:
            check_one_class_each(f"--shard {self.setting.shard}", data)
        if self._alpha is not None and keeps_order:
            raise InvalidOptionError(
                f"--shard {self.setting.shard} changes the order of the samples, which {data.name} keeps with "
                "--passes 1; leave it out, or use --stream instance."
            )
        return keeps_order

    @override
    def _owners(self, index: int) -> Tensor | None:
        if self._alpha is None:
            return None
        entries, workers = self._phases[index], world_size()
        places = workers_of_places(batch_cuts(len(entries), self.setting.batch_size, workers), workers)
        seed = derive_seed(self.setting.seed, "shards", self.first_task + index)
        return dirichlet_owners(
            self._source.labels(entries), places.bincount(minlength=workers).tolist(), self._alpha, seed
        )
