"""The computation of a trained method from samples to scores, as one graph that runs without redwood."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from typing_extensions import override

from redwood.core.errors import NotApplicableError
from redwood.experiments.trained.model import TrainedModel
from redwood.methods.base import Method

TOLERANCE = 1e-5
TRACED, CHECKED = 5, (1, 3)  # numbers of samples that the graph is made with, and checked with


class Predictor(nn.Module):
    """The prediction of a method as a module; the networks of the method are its parts."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self._predict = method.predict
        for name, part in networks_of(method).items():
            self.add_module(name, part)

    @override
    def forward(self, x: Tensor, task_id: Tensor | None = None) -> Tensor:
        return self._predict(x, task_id)


def networks_of(method: Method) -> dict[str, nn.Module]:
    """The networks of a method by name: that of a gradient method, and whatever else is one of its attributes."""
    names = [name for name in ("network", *vars(method)) if name != "module"]  # Lightning's module holds the network
    values = {name: getattr(method, name, None) for name in names}
    return {name: value for name, value in values.items() if isinstance(value, nn.Module)}


def trace(model: TrainedModel) -> ExportedProgram:
    """The graph of a model's prediction: scores (n, K) of samples (n, ...) in their storage dtype, for any n.

    It takes `task_id` (n,) int64, too, where the setting gives task ids at test. In regression it gives numbers (n,) or
    (n, d). The graph is checked: it has to repeat the answers of the method for a few random samples.

    Args:
        model: A loaded run, on the CPU. Tracing may leave traces in its method, so do not use it afterwards.

    Raises:
        NotApplicableError: If the prediction is no such graph: it gives no scores, or takes other steps for other
            samples.
    """
    name = model.method.reference()
    if model.setting.assumptions.rewards:
        raise NotApplicableError(f"{name} acts in an environment, and no graph does; use --format safetensors.")
    with quiet():
        inputs = [_random_inputs(model, n) for n in (TRACED, *CHECKED)]
        try:
            expected = [_answer_of(model)(*own) for own in inputs]
        except NotApplicableError as error:
            raise NotApplicableError(f"{name} predicts labels without scores; use --format safetensors.") from error
        try:
            dynamic = tuple({0: Dim("batch")} for _ in inputs[0])
            predictor = Predictor(model.method).eval()
            program = torch.export.export(predictor, inputs[0], dynamic_shapes=dynamic, strict=False)
            answers = [program.module()(*own) for own in inputs]
        except Exception as error:  # any code of a method runs here, on tensors without values
            raise NotApplicableError(
                f"The prediction of {name} is no single graph: it takes other steps for other samples "
                f"({type(error).__name__}); use --format safetensors, which holds any method."
            ) from error
    for answer, wanted in zip(answers, expected, strict=True):
        if answer.shape != wanted.shape or not torch.allclose(answer, wanted, rtol=TOLERANCE, atol=TOLERANCE):
            raise NotApplicableError(
                f"A graph does not repeat the prediction of {name}, which depends on more than the samples; use "
                "--format safetensors, which holds any method."
            )
    return program


def _answer_of(model: TrainedModel) -> Callable[..., Tensor]:
    return model.predict if isinstance(model.setting.action_space, Box) else model.scores


def _random_inputs(model: TrainedModel, n: int) -> tuple[Tensor, ...]:
    """Random samples (n, ...) within the bounds of the model's, and their tasks (n,) if it takes these."""
    space, random = model.sample_space, np.random.default_rng(n)
    low, high = (np.asarray(bound, np.float64) for bound in (space.low, space.high))
    bounded = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(bounded, low, -4.0), np.where(bounded, high, 4.0)
    x = torch.from_numpy(random.uniform(low, high, (n, *space.shape)).astype(space.dtype))
    if not model.takes_task_ids:
        return (x,)
    return x, torch.from_numpy(random.integers(0, model.phases, n))


@contextmanager
def quiet() -> Iterator[None]:
    """Without gradients, and without warnings that speak of the exporter's own options."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        yield
