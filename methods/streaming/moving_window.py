"""A linear model of the latest samples, fitted anew as these move on (Widmer and Kubat, 1996, for a fixed window)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from redwood.core.checks import check_range
from redwood.methods.streaming.prequential import PrequentialMethod, fit_ridge, ridge_flops
from redwood.settings.phase import Phase


@dataclass
class MovingWindow(PrequentialMethod):
    """Ridge regression on the latest labelled samples; of classes, on one-hot targets.

    "Learning in the Presence of Concept Drift and Hidden Contexts". What is older than the window is forgotten, so the
    model follows a drift whatever it is, and knows nothing of earlier tasks.
    """

    regression: ClassVar[bool] = True

    window: int = 100  # latest samples that the model is fitted to
    refit_every: int = 1  # steps between fits; at the end of a phase there is one in any case
    ridge: float = 0.01  # penalty of the squared weights

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        check_range(self, "window", 1)
        check_range(self, "refit_every", 1)
        check_range(self, "ridge", 1e-9)

    def forget(self) -> None:
        """Start with an empty window."""
        self._x: Tensor | None = None
        self._y: Tensor | None = None
        self._model: tuple[Tensor, Tensor] | None = None
        self._steps = 0

    def kept(self) -> int:
        """Samples that there is a model of."""
        return 0 if self._y is None or self._model is None else len(self._y)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Move the window on."""
        self._x = (x if self._x is None else torch.cat([self._x, x]))[-self.window :].clone()
        self._y = (y if self._y is None else torch.cat([self._y, y]))[-self.window :].clone()
        if self._steps % self.refit_every == 0:
            self._refit()
        self._steps += 1

    def _refit(self) -> None:
        assert self._x is not None
        assert self._y is not None
        inputs, targets = self.inputs(self._x), self.targets(self._y)
        self._model = fit_ridge(inputs, targets, self.ridge)
        n, d = inputs.shape
        self.flops += ridge_flops(n, d, targets.shape[1])

    def fit(self, phase: Phase) -> None:
        """Read the phase, and take into account all of it."""
        super().fit(phase)
        if (self._steps - 1) % self.refit_every:
            self._refit()

    def answer(self, x: Tensor) -> Tensor:
        """What the model says (B, k)."""
        assert self._model is not None
        weights, bias = self._model
        return x @ weights + bias

    def query_flops(self, d: int) -> float:
        """A product of input and weights."""
        return 2.0 * d * self.n_outputs

    def state_dict(self) -> dict[str, Any]:
        """The window and the model, too."""
        own = {"x": self._x, "y": self._y, "model": self._model, "steps": self._steps}
        return super().state_dict() | {"window": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        own = state["window"]
        self._x, self._y, self._steps = own["x"], own["y"], own["steps"]
        self._model = None if own["model"] is None else tuple(own["model"])

    def costs(self) -> dict[str, Any]:
        """FLOPs of fits and of predictions in the stream, weights and biases, and the bytes of the window."""
        window = 0 if self._x is None or self._y is None else self._x.nbytes + self._y.nbytes
        parameters = 0 if self._model is None else sum(part.numel() for part in self._model)
        return {"training_flops": self.flops, "parameters": parameters, "buffer_bytes": window}
