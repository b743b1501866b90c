"""A linear model of the latest samples, fitted again as the window moves (Widmer and Kubat, 1996)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from redwood.branches.streaming.prequential import PrequentialMethod, fit_ridge, ridge_flops
from redwood.core.checks import check_range
from redwood.core.state import State
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting


@dataclass
class MovingWindow(PrequentialMethod):
    """Ridge regression on the latest labelled samples; of classes, on one-hot targets.

    "Learning in the Presence of Concept Drift and Hidden Contexts". Samples older than the window are forgotten. So the
    model follows any drift, and knows nothing of earlier tasks.
    """

    regression: ClassVar[bool] = True

    window: int = 100  # latest samples that the model is fitted to
    refit_every: int = 1  # steps between fits; the end of a phase always has a fit
    ridge: float = 0.01  # penalty of the squared weights

    def __post_init__(self) -> None:
        check_range(self, "window", 1)
        check_range(self, "refit_every", 1)
        check_range(self, "ridge", 1e-9)

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.x: Tensor | None = self.add_state("x", None, buffer=True)
        self.y: Tensor | None = self.add_state("y", None, buffer=True)
        self.model: tuple[Tensor, Tensor] | None = self.add_state("model", None)
        self.steps = self.add_state("steps", 0)

    @override
    def forget(self) -> None:
        self.x, self.y, self.model, self.steps = None, None, None, 0

    @override
    def kept(self) -> int:
        return 0 if self.y is None or self.model is None else len(self.y)

    @override
    def add(self, x: Tensor, y: Tensor) -> None:
        self.x = (x if self.x is None else torch.cat([self.x, x]))[-self.window :].clone()
        self.y = (y if self.y is None else torch.cat([self.y, y]))[-self.window :].clone()
        if self.steps % self.refit_every == 0:
            self._refit()
        self.steps += 1

    def _refit(self) -> None:
        assert self.x is not None
        assert self.y is not None
        inputs, targets = self.inputs(self.x), self.targets(self.y)
        self.model = fit_ridge(inputs, targets, self.ridge)
        n, d = inputs.shape
        self.flops += ridge_flops(n, d, targets.shape[1])

    @override
    def fit(self, phase: Phase) -> None:
        super().fit(phase)
        if (self.steps - 1) % self.refit_every:
            self._refit()

    @override
    def answer(self, x: Tensor) -> Tensor:
        assert self.model is not None
        weights, bias = self.model
        return x @ weights + bias

    @override
    def grow_state(self, saved: State, smaller: Any) -> State:
        state = super().grow_state(saved, smaller)
        if state["model"] is not None:  # no sample of the window is of a further class, so its weights are zero
            further = (0, self.n_outputs - smaller.n_outputs)
            state["model"] = tuple(F.pad(part, further) for part in state["model"])
        return state

    @override
    def query_flops(self, d: int) -> float:
        return 2.0 * d * self.n_outputs

    @override
    def costs(self) -> dict[str, Any]:
        return super().costs() | {"parameters": 0 if self.model is None else sum(part.numel() for part in self.model)}
