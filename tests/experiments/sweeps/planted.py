"""A quick method whose best options are known, and a data set that tells when its test samples are looked at."""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from redwood.methods.base import Method
from redwood.settings.base import Setting
from redwood.settings.data.dataset import Dataset
from redwood.settings.streams.phase import Phase
from redwood.settings.tree import ContinualSetting
from tests.samples import few_digits

BEST = 0.1  # the best strength


@dataclass
class Planted(Method):
    """The class of the nearest mean, but for a share of samples that grows with the distance from the best options."""

    target = ContinualSetting

    strength: float = 1.0  # best at 0.1
    size: int = 3  # without effect
    kind: str = "bad"  # good, bad, or broken, which fails in the second task
    slow: float = 0.0  # seconds of each phase

    def configure(self, setting: Setting) -> None:
        """Start without means."""
        size = math.prod(setting.observation_space.shape or ())
        self._classes = int(setting.action_space.n)  # type: ignore[attr-defined]
        self.sums, self.counts = torch.zeros(self._classes, size), torch.zeros(self._classes)
        self.add_state("sums", self.sums)
        self.add_state("counts", self.counts)

    def fit(self, phase: Phase) -> None:
        """Add up the samples of each class."""
        time.sleep(self.slow)
        if self.kind == "broken" and self.counts.any():
            raise ArithmeticError("broken")
        for batch in phase.train:
            self.sums.index_add_(0, batch.y, batch.x.flatten(1).float())
            self.counts.index_add_(0, batch.y, torch.ones(len(batch.y)))
        with Path(os.environ.get("PLANTED_LOG", os.devnull)).open("a") as log:
            log.write(f"{self.run.directory} {phase.index}\n")

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """The class of the nearest mean, or another one."""
        flat = x.flatten(1).float()
        means = torch.where(self.counts[:, None] > 0, self.sums / self.counts[:, None].clamp(min=1), math.inf)
        nearest = (flat[:, None] - means).square().sum(2).argmin(1)
        share = min(1.0, abs(math.log10(self.strength / BEST)) / 3) * 0.8 + 0.2 * (self.kind == "bad")
        wrong = (flat.sum(1) * 7 + flat[:, 20] * 3) % 100 < 100 * share
        return torch.where(wrong, (nearest + 1) % self._classes, nearest)


class Guarded(Tensor):
    """A tensor that writes down when it is used: whether the sweep has ended its trials by then."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Write a line, and do as any tensor."""
        with Path(os.environ["GUARD_LOG"]).open("a") as log:
            log.write("trials over\n" if Path(os.environ["GUARD_ENDED"]).exists() else f"{func}\n")
        return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]


def guarded(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """Few digits, whose test samples and test labels tell when they are used."""
    data = few_digits()
    for name in ("x_test", "y_test"):
        object.__setattr__(data, name, getattr(data, name).as_subclass(Guarded))
    return data
